//! Options with a few values, each under a name.

/// A value of a [`Choice`].
#[derive(Clone, Copy, Debug)]
pub struct Named<T> {
    /// The value itself.
    pub value: T,
    /// Its name in files and on command lines.
    pub name: &'static str,
    /// Its meaning in a few words; empty if the name says it.
    pub meaning: &'static str,
}

/// An option with a few values.
pub trait Choice: Copy + 'static {
    /// Every value, in the order in which a list of them shows them.
    const VALUES: &'static [Named<Self>];
}

/// Defines the enum of a [`Choice`] from its values and their names. A variant's doc comment, which is one
/// line at most and names no option, is the value's meaning. Serde and `Display` write the name.
macro_rules! choices {
    (
        $(#[$($about:tt)*])*
        pub enum $choice:ident {
            $($(#[$($meta:tt)*])* $variant:ident = $name:literal,)*
        }
    ) => {
        $(#[$($about)*])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $choice {
            $($(#[$($meta)*])* #[serde(rename = $name)] $variant,)*
        }

        impl $crate::choice::Choice for $choice {
            const VALUES: &'static [$crate::choice::Named<Self>] = &[
                $($crate::choice::Named {
                    value: $choice::$variant,
                    name: $name,
                    meaning: $crate::choice::meaning!($([$($meta)*])*).trim_ascii(),
                },)*
            ];
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str(match self {
                    $($choice::$variant => $name,)*
                })
            }
        }
    };
}

/// The text of the first doc comment among attributes; empty without one.
macro_rules! meaning {
    () => { "" };
    ([doc = $text:literal] $($rest:tt)*) => { $text };
    ([$($other:tt)*] $($rest:tt)*) => { $crate::choice::meaning!($($rest)*) };
}

pub(crate) use {choices, meaning};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DecayName;

    #[test]
    fn serde_and_display_write_the_name() {
        for Named { value, name, .. } in DecayName::VALUES {
            assert_eq!(value.to_string(), *name);
            assert_eq!(serde_json::json!(value), *name);
        }
    }

    choices! {
        /// A choice of its own.
        pub enum Weather {
            /// what falls from the sky
            Rain = "rain",
            Sun = "sun",
        }
    }

    #[test]
    fn a_doc_comment_is_the_meaning() {
        let meanings = Weather::VALUES.iter().map(|value| value.meaning);
        assert_eq!(
            meanings.collect::<Vec<_>>(),
            ["what falls from the sky", ""]
        );
    }
}
