//! Where the hub is, where its files are kept, and as whom to ask: by the environment variables that
//! Python's huggingface_hub reads.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";

/// The connection to the hub and the place of its files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address, `https://huggingface.co` or a mirror's, without a trailing slash.
    pub endpoint: String,
    /// The cache directory, in the layout that all libraries of Hugging Face share.
    pub cache: PathBuf,
    /// The token. It is sent to `endpoint` and to no other host.
    pub token: Option<Token>,
    /// True if no requests are allowed: all files must be in the cache.
    pub offline: bool,
    /// The pause before the first retry of a request. It doubles with each retry.
    pub pause: Duration,
}

/// The sources of the settings.
pub struct Environment<'a> {
    /// The value of an environment variable; `None` where it is not set, or no text.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The user's home directory, if there is one.
    pub home: Option<&'a Path>,
}

/// A secret, which no message and no debug output shows.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Makes a token from a text, without the white space at both ends.
    pub fn new(token: &str) -> Self {
        Token(token.trim().to_owned())
    }

    #[cfg(any(feature = "hub", test))]
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// By the environment, as huggingface_hub reads it: `HF_ENDPOINT`; `HF_HUB_CACHE`, `HF_HOME` or
    /// `XDG_CACHE_HOME`; `HF_TOKEN`, the file that `HF_TOKEN_PATH` names or `HF_HOME/token`, unless
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set; `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`. A variable
    /// that is empty counts as unset.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an endpoint that is no web address, for a token that cannot be sent, and
    /// without a home directory to keep files in; [`Error::Io`] for a token file that cannot be read.
    pub fn of(environment: &Environment) -> Result<Self> {
        let variable = |name: &str| {
            let value = (environment.variable)(name);
            value.filter(|value| !value.trim().is_empty())
        };
        let path = |name: &str| variable(name).map(|value| environment.expand(&value));
        let is_on = |name: &str| {
            variable(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
            })
        };

        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        if !is_web_address(endpoint.trim()) {
            return Err(Error::environment(
                "HF_ENDPOINT",
                format!("{endpoint:?} is not a web address"),
                format!("give one that begins with https://, or unset it for {ENDPOINT}"),
            ));
        }
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(environment.home?.join(".cache/huggingface")))
            .ok_or_else(|| {
                Error::environment(
                    "HF_HOME",
                    "there is no home directory to keep downloads in",
                    "set HF_HOME to a directory for them",
                )
            })?;
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| home.join("hub"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = match variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")) {
            _ if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(token) => Some(("HF_TOKEN".to_owned(), token)),
            None if token_file.exists() => {
                let text = fs::read_to_string(&token_file)
                    .map_err(|e| Error::io("read", &token_file, e))?;
                Some((token_file.display().to_string(), text))
            }
            None => None,
        };
        let token = match token.map(|(origin, text)| (origin, Token::new(&text))) {
            Some((origin, token)) if !token.0.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(Error::environment(
                    origin,
                    "holds a character that no token has",
                    "copy the token again from the hub's settings page, https://huggingface.co/settings/tokens",
                ));
            }
            token => token
                .map(|(_, token)| token)
                .filter(|token| !token.0.is_empty()),
        };
        Ok(Settings {
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            cache,
            token,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            pause: Duration::from_millis(250),
        })
    }
}

impl Environment<'_> {
    /// The path with `~` as the user's home directory.
    fn expand(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        }
    }
}

/// True for `http://HOST` and `https://HOST`, with a port that exists if any, and a path.
fn is_web_address(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let Some(authority) = rest.and_then(|rest| rest.split(['/', '?', '#']).next()) else {
        return false;
    };
    // Behind a name, or behind an IPv6 address in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn web_addresses() {
        for good in [
            "https://hub",
            "http://127.0.0.1:8000/a:b",
            "http://[::1]:80",
            "http://[::1]",
        ] {
            assert!(super::is_web_address(good), "{good}");
        }
        for bad in [
            "hub",
            "ftp://hub",
            "http://",
            "http://a b",
            "http://hub:99999",
            "http://:80",
        ] {
            assert!(!super::is_web_address(bad), "{bad}");
        }
    }

    use super::*;

    const HOME: &str = "/home/user";

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::of(&Environment {
            variable: &|name| {
                let found = variables.iter().find(|(other, _)| *other == name)?;
                Some(found.1.to_owned())
            },
            home: Some(Path::new(HOME)),
        })
    }

    fn token(settings: &Settings) -> Option<&str> {
        settings.token.as_ref().map(Token::secret)
    }

    #[test]
    fn defaults_are_the_hubs_and_those_of_the_home_directory() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().to_str().unwrap();
        let all = settings(&[("XDG_CACHE_HOME", root), ("HF_ENDPOINT", "")]).unwrap();
        assert_eq!(all.endpoint, "https://huggingface.co");
        assert_eq!(all.cache, home.path().join("huggingface/hub"));
        assert!(!all.offline && all.token.is_none());
        let own = settings(&[]).unwrap();
        assert_eq!(own.cache, Path::new(HOME).join(".cache/huggingface/hub"));
        let tilde = settings(&[("HF_HOME", "~/hf")]).unwrap();
        assert_eq!(tilde.cache, Path::new(HOME).join("hf/hub"));
        let homeless = Settings::of(&Environment {
            variable: &|_| None,
            home: None,
        });
        let text = homeless.unwrap_err().to_string();
        assert!(text.contains("there is no home directory"), "{text}");
    }

    #[test]
    fn each_variable_is_read() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().to_str().unwrap();
        fs::write(home.path().join("token"), "hf_file\n").unwrap();
        let mut variables = vec![("HF_HOME", root), ("HF_ENDPOINT", "http://mirror:8000/")];
        let all = settings(&variables).unwrap();
        assert_eq!(all.endpoint, "http://mirror:8000");
        assert_eq!(all.cache, home.path().join("hub"));
        assert_eq!(token(&all), Some("hf_file"));

        variables.extend([("HF_HUB_CACHE", "/else"), ("HF_TOKEN", " hf_variable\n")]);
        let all = settings(&variables).unwrap();
        assert_eq!(all.cache, PathBuf::from("/else"));
        assert_eq!(token(&all), Some("hf_variable"));

        let path = home.path().join("other");
        fs::write(&path, "hf_other").unwrap();
        let all = settings(&[("HF_HOME", root), ("HF_TOKEN_PATH", path.to_str().unwrap())]);
        assert_eq!(token(&all.unwrap()), Some("hf_other"));

        variables.push(("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"));
        assert_eq!(token(&settings(&variables).unwrap()), None);
        for (value, offline) in [("1", true), ("TRUE", true), ("on", true), ("0", false)] {
            for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
                let all = settings(&[("HF_HOME", root), (name, value)]).unwrap();
                assert_eq!(all.offline, offline, "{name}={value}");
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_the_variables_name() {
        let text = settings(&[("HF_ENDPOINT", "mirror")])
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("HF_ENDPOINT: \"mirror\" is not a web address"),
            "{text}"
        );
        let text = settings(&[("HF_TOKEN", "hf_a b")]).unwrap_err().to_string();
        assert!(text.starts_with("HF_TOKEN: holds a character"), "{text}");
        assert!(!text.contains("hf_a"), "{text}");
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        let settings = settings(&[("HF_HOME", "/none"), ("HF_TOKEN", "hf_secret")]).unwrap();
        let text = format!("{settings:?}");
        assert!(
            text.contains("Token(…)") && !text.contains("secret"),
            "{text}"
        );
    }
}
