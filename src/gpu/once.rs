//! Values that several threads ask for and one of them makes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Values by key. The first who asks for a value makes it; others who ask meanwhile wait.
pub(super) struct OnceEach<K, V>(Mutex<HashMap<K, Arc<OnceLock<V>>>>);

impl<K, V> Default for OnceEach<K, V> {
    fn default() -> Self {
        OnceEach(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> OnceEach<K, V> {
    /// The value of `key`, which `make` makes unless it exists or is being made.
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        let value = Arc::clone(held(&self.0).entry(key).or_default());
        value.get_or_init(make).clone()
    }

    /// True if the value is there.
    pub fn has(&self, key: &K) -> bool {
        held(&self.0).get(key).is_some_and(|v| v.get().is_some())
    }

    /// True if the value is there or is being made.
    pub fn is_begun(&self, key: &K) -> bool {
        held(&self.0).contains_key(key)
    }

    /// Waits for the values that are being made.
    pub fn wait(&self) {
        let values: Vec<_> = held(&self.0).values().cloned().collect();
        for value in values {
            value.wait();
        }
    }
}

/// The content of a lock. What the locks of this folder hold is whole after each statement, even one that panics.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn each_value_is_made_once() {
        let (values, made) = (OnceEach::default(), AtomicUsize::new(0));
        assert!(!values.has(&1) && !values.is_begun(&1));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..4 {
                        let value = values.get(key, || {
                            made.fetch_add(1, Ordering::SeqCst);
                            10 * key
                        });
                        assert_eq!(value, 10 * key);
                    }
                });
            }
        });
        values.wait();
        assert!(values.has(&3) && values.is_begun(&3));
        assert_eq!(made.into_inner(), 4);
    }
}
