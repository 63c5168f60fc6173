//! Requests to the hub. A request is repeated after a failure that may pass, and fails after a minute of silence.
//! Only the hub itself gets the token; the target of a redirect does not.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, HeaderMap, LINK, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error, Proxy};

use super::settings::Settings;

/// A connection that is silent for this time counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
/// The number of times that a failed request is repeated.
pub(super) const RETRIES: u32 = 4;
const MOST_REDIRECTS: usize = 10;
/// The most bytes of an answer that is read whole. A page of a listing has a thousand files.
const MOST_BYTES: u64 = 64 << 20;

/// The reason for the failure of a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub answered with a status that is no success.
    Status(Box<Refusal>),
    /// No connection, or no answer.
    Unreachable(String),
    /// The connection ended before the answer did.
    Broken(String),
    /// The answer is not one of a hub.
    Nonsense(String),
}

/// An answer with a status that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    /// The hub's name for the error, such as `RepoNotFound`; may be empty.
    pub code: String,
    /// The hub's message for people; may be empty.
    pub message: String,
    /// The pause that the hub asks for before the next request.
    pub retry_after: Option<Duration>,
}

/// Sends requests.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    /// The header's value.
    authorization: Option<String>,
    pause: Duration,
}

impl Client {
    /// A client for the hub of the settings, with their token. A token that no header can hold is not sent.
    pub fn new(settings: &Settings) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        // ureq takes the first proxy that the environment names, even one for other schemes. A hub at an http
        // address uses a proxy only if one is named for http or for all schemes.
        let is_plain = settings.endpoint.starts_with("http://");
        let names = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
        let named = || names.iter().any(|name| std::env::var_os(name).is_some());
        let proxy = match is_plain && !named() {
            true => None,
            false => Proxy::try_from_env(),
        };
        let config = Config::builder()
            .tls_config(tls)
            .proxy(proxy)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(SILENCE))
            .timeout_connect(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        let token = settings.token.as_ref().map(|token| token.secret());
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        Client {
            agent: Agent::with_parts(config, DefaultConnector::default(), Names::default()),
            endpoint: settings.endpoint.clone(),
            authorization: token.map(|token| format!("Bearer {token}")),
            pause: settings.pause,
        }
    }

    /// The body of the file at a path, from byte `begin` on, as a stream.
    pub fn open(&self, path: &str, begin: u64) -> Result<impl Read + use<>, Failure> {
        let answer = self.get(format!("{}/{path}", self.endpoint), begin)?;
        Ok(answer.into_body().into_reader())
    }

    /// The JSON at a path.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.page(format!("{}/{path}", self.endpoint))?.0)
    }

    /// The items of a list in JSON, of all its pages.
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut next = Some(format!("{}/{path}", self.endpoint));
        let mut seen = BTreeSet::new();
        while let Some(url) = next {
            if !seen.insert(url.clone()) {
                return Err(Failure::Nonsense("a listing without end".to_owned()));
            }
            let (page, after): (Vec<T>, _) = self.page(url)?;
            next = after;
            items.extend(page);
        }
        Ok(items)
    }

    /// The JSON at an address, and the address of the page after it.
    fn page<T: DeserializeOwned>(&self, url: String) -> Result<(T, Option<String>), Failure> {
        let mut answer = self.get(url, 0)?;
        let next = next_page(answer.headers());
        let body = answer.body_mut().with_config().limit(MOST_BYTES);
        let bytes = body.read_to_vec().map_err(Failure::from)?;
        let value = serde_json::from_slice(&bytes).map_err(|e| Failure::Nonsense(e.to_string()))?;
        Ok((value, next))
    }

    /// A successful answer, after at most [`RETRIES`] repetitions.
    fn get(&self, url: String, begin: u64) -> Result<Response<Body>, Failure> {
        let mut tries = 0;
        loop {
            match self.follow(&url, begin) {
                Err(failure) if failure.may_pass() && tries < RETRIES => {
                    std::thread::sleep(self.pause * 2u32.pow(tries));
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// A successful answer, after following redirects.
    fn follow(&self, url: &str, begin: u64) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(value) = &self.authorization
                && is_same_origin(&url, &self.endpoint)
            {
                request = request.header(AUTHORIZATION, value);
            }
            if begin > 0 {
                request = request.header(RANGE, format!("bytes={begin}-"));
            }
            let answer = request.call().map_err(Failure::from)?;
            let status = answer.status();
            let location = header(answer.headers(), LOCATION.as_str());
            match location.filter(|_| status.is_redirection()) {
                Some(location) => {
                    url = resolve(&url, location)
                        .ok_or_else(|| Failure::Nonsense("a redirect to nowhere".to_owned()))?;
                }
                None if status.is_success() => return Ok(answer),
                None => return Err(Failure::Status(Box::new(Refusal::of(answer)))),
            }
        }
        Err(Failure::Nonsense("redirects without end".to_owned()))
    }
}

impl Refusal {
    fn of(mut answer: Response<Body>) -> Self {
        let body = answer.body_mut().read_to_vec().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let headers = answer.headers();
        let text = |name| header(headers, name).map(str::to_owned);
        let message = text("x-error-message").or_else(|| Some(body["error"].as_str()?.to_owned()));
        let seconds =
            header(headers, RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        Refusal {
            status: answer.status().as_u16(),
            code: text("x-error-code").unwrap_or_default(),
            message: message.unwrap_or_default(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

impl Failure {
    /// True if the same request may succeed in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Status(refusal) => [408, 429, 500, 502, 503, 504].contains(&refusal.status),
            Failure::Unreachable(_) | Failure::Broken(_) => true,
            Failure::Nonsense(_) => false,
        }
    }

    /// The failure to read a body.
    pub fn of_body(error: io::Error) -> Self {
        match Error::from(error) {
            Error::Timeout(_) => Failure::Unreachable("no answer for a minute".to_owned()),
            error => Failure::Broken(words(error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error {
            Error::Timeout(_) => Failure::Unreachable("no answer for a minute".to_owned()),
            Error::Io(error)
                if [
                    ConnectionReset,
                    ConnectionAborted,
                    BrokenPipe,
                    UnexpectedEof,
                ]
                .contains(&error.kind()) =>
            {
                Failure::Broken(error.to_string())
            }
            // The address is not shown, because its query may hold a signature.
            Error::BadUri(_) => Failure::Nonsense("a redirect to nowhere".to_owned()),
            error @ (Error::Protocol(_)
            | Error::Http(_)
            | Error::LargeResponseHeader(..)
            | Error::BodyExceedsLimit(_)) => Failure::Nonsense(words(error)),
            error => Failure::Unreachable(words(error)),
        }
    }
}

/// The message of an error, without the name of its kind.
fn words(error: Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Other(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// A resolver that tells an unknown host name from other failures.
#[derive(Debug, Default)]
struct Names(DefaultResolver);

#[derive(Debug)]
struct NoSuchName(String);

impl fmt::Display for NoSuchName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "its name is not known (DNS): {}", self.0)
    }
}

impl std::error::Error for NoSuchName {}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0
            .resolve(uri, config, timeout)
            .map_err(|error| match error {
                error @ (Error::Io(_) | Error::HostNotFound) => {
                    Error::Other(Box::new(NoSuchName(words(error))))
                }
                error => error,
            })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The address marked as next in a `Link` header, as in `<https://HUB/api/models?cursor=…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = header(headers, LINK.as_str())?.split(',');
    let next = links
        .into_iter()
        .find(|link| link.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<&str> {
    let begin = url.find("://")? + 3;
    let end = url[begin..].find(['/', '?', '#']);
    Some(end.map_or(url, |end| &url[..begin + end]))
}

fn is_same_origin(one: &str, other: &str) -> bool {
    matches!((origin(one), origin(other)), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other))
}

/// The address of a `Location` header in an answer from `url`.
fn resolve(url: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    if location.starts_with("//") {
        return Some(format!("{}:{location}", url.split_once("://")?.0));
    }
    let origin = origin(url)?;
    if location.starts_with('/') {
        return Some(format!("{origin}{location}"));
    }
    let path = url.split(['?', '#']).next()?;
    let folder = path[origin.len()..]
        .rfind('/')
        .map_or(path, |end| &path[..origin.len() + end]);
    Some(format!("{folder}/{location}"))
}

/// A text as part of a path or a query. Every character but letters, digits and `-._~` becomes its bytes in hex.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_resolved_against_where_it_came_from() {
        let from = "https://hub.test:8/api/models/a?full=1";
        for (location, to) in [
            ("http://cdn.test/x?s=1", "http://cdn.test/x?s=1"),
            ("//cdn.test/x", "https://cdn.test/x"),
            ("/api/models/b", "https://hub.test:8/api/models/b"),
            ("b", "https://hub.test:8/api/models/b"),
        ] {
            assert_eq!(resolve(from, location).as_deref(), Some(to));
        }
        assert_eq!(
            resolve("https://hub.test", "b").unwrap(),
            "https://hub.test/b"
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = "https://hub.test/mirror";
        assert!(is_same_origin("https://HUB.test/x", hub));
        for other in [
            "http://hub.test/x",
            "https://hub.test:8443/x",
            "https://hub.test.evil.test/x",
            "https://hub.test@evil.test/x",
            "hub.test",
        ] {
            assert!(!is_same_origin(other, hub), "{other}");
        }
    }

    #[test]
    fn a_list_goes_on_where_its_header_says() {
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers), None);
        let links =
            "<https://hub.test/a?p=0>; rel=\"prev\", <https://hub.test/a?p=2>; rel=\"next\"";
        headers.insert(LINK, links.parse().unwrap());
        assert_eq!(
            next_page(&headers).as_deref(),
            Some("https://hub.test/a?p=2")
        );
    }

    #[test]
    fn a_text_is_one_segment_of_a_path() {
        assert_eq!(encoded("v1.0-rc_2~"), "v1.0-rc_2~");
        assert_eq!(encoded("refs/pr 1#é"), "refs%2Fpr%201%23%C3%A9");
    }
}
