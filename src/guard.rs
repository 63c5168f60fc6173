//! Calls into crates that panic where data is damaged.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `read`; `None` if it panics. What it was about to build is thrown away then.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    let before = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(before);
    result.ok()
}

/// True on a thread whose panic becomes an error that names the damaged file. A panic hook need not report it.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_nothing() {
        assert_eq!(guarded(|| 1), Some(1));
        assert!(!is_guarded());
        assert_eq!(
            guarded(|| -> usize { [0, 1][std::hint::black_box(2)] }),
            None
        );
        assert!(!is_guarded());
        assert_eq!(guarded(is_guarded), Some(true));
    }
}
