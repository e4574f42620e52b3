//! One repository of a registry, spoken to over HTTP: who asks, how often, how long, and how much is read.
//!
//! Knows nothing of plugins. Sends what proves who asks to the registry itself and to the place for tokens that it
//! names, and to nobody else; follows redirects by hand to be sure of that. Proxies are those of the usual variables, which the library reads.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::{self, Challenge};
use super::digest::{Digest, Hasher};
use super::docker::{Credentials, Docker};
use super::error::RegistryError;
use super::reference::Reference;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time in which nothing arrives before a transfer counts as dead.
const IDLE: Duration = Duration::from_secs(30);
/// Time for one whole exchange: 32 MiB at 110 KB/s.
const EXCHANGE: Duration = Duration::from_secs(300);
/// Times that something is asked for, when the registry is busy, broken or cuts it off.
pub(super) const TRIES: u32 = 4;
/// Wait before the second try; doubles, and up to half of it is added so that many do not come back at once.
const BACKOFF: Duration = Duration::from_millis(200);
/// The longest that a registry may ask to wait; beyond it a person decides.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Redirects of one request. Registries use one, to where their blobs lie.
const MAX_REDIRECTS: usize = 4;
/// What is taken for something named by its digest; some registries hide manifests from who does not name
/// their type.
const ANYTHING: &str = "application/vnd.oci.image.manifest.v1+json, */*";
/// Bytes of an answer that says why something failed.
const MAX_REFUSAL: usize = 8 << 10;
/// Bytes of an answer with a token.
const MAX_TOKEN: usize = 64 << 10;
/// Characters of what a registry says that are shown.
const MAX_SAID: usize = 200;

/// How to reach registries.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the credentials are.
    pub docker: Docker,
    /// Speak HTTP without TLS also to a registry that is not on this machine.
    pub plain_http: bool,
}

/// What is being transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Finding out what there is.
    Resolving,
    /// The component comes.
    Fetching,
    /// The signatures come.
    Signatures,
    /// The component goes.
    Pushing,
}

/// How far a transfer is, in bytes; `total` is 0 where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What.
    pub phase: Phase,
    /// What is there already.
    pub done: u64,
    /// What there will be.
    pub total: u64,
}

/// Is told how far a transfer is.
pub type Teller<'a> = dyn FnMut(Progress) + 'a;

/// One repository, and what was learned about how to speak to it.
pub(super) struct Session {
    http: reqwest::Client,
    registry: String,
    repository: String,
    base: Url,
    docker: Docker,
    // Looked up when the registry asks for them, and once.
    credentials: Option<Option<Credentials>>,
    authorization: Option<HeaderValue>,
}

/// A request that can be made again.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// What it is called when it is not there.
    pub(super) what: &'a str,
    pub(super) accept: Option<&'static str>,
    pub(super) body: Option<(&'static str, Bytes)>,
}

impl<'a> Ask<'a> {
    /// Asks for this.
    pub(super) fn get(url: Url, what: &'a str) -> Ask<'a> {
        Ask { method: Method::GET, url, what, accept: None, body: None }
    }

    /// Writes this.
    pub(super) fn put(url: Url, what: &'a str, media: &'static str, body: Bytes) -> Ask<'a> {
        Ask { method: Method::PUT, url, what, accept: None, body: Some((media, body)) }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

impl Session {
    /// Makes a session; connects to nothing yet.
    pub(super) fn new(reference: &Reference, options: &Options) -> Result<Session, RegistryError> {
        // The provider of this whole program; it may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let setup = |reason: String| RegistryError::Setup { reason };
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(IDLE)
            .timeout(EXCHANGE)
            .user_agent(concat!("meshctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setup(causes(&error)))?;
        let is_plain = options.plain_http || reference.is_loopback();
        let scheme = if is_plain { "http" } else { "https" };
        // Docker's own registry answers under another name than it has.
        let host =
            if reference.registry() == "docker.io" { "registry-1.docker.io" } else { reference.registry() };
        let base = format!("{scheme}://{host}/v2/{}/", reference.repository());
        let base = Url::parse(&base).map_err(|error| setup(error.to_string()))?;
        Ok(Session {
            http,
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            base,
            docker: options.docker.clone(),
            credentials: None,
            authorization: None,
        })
    }

    /// Returns the address of something in the repository.
    pub(super) fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("digests, tags and fixed words make a URL")
    }

    /// Returns the address that the registry names, which may be relative.
    pub(super) fn located(&self, from: &Url, headers: &HeaderMap) -> Result<Url, RegistryError> {
        let bad = |reason: &str| RegistryError::BadAnswer { what: "location", reason: reason.to_owned() };
        let location = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| bad("there is none"))?;
        let url = from.join(location).map_err(|_| bad("it is no address"))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.base.scheme() == "http" => Ok(url),
            _ => Err(RegistryError::Redirect { registry: self.registry.clone(), why: "away from TLS" }),
        }
    }

    /// Asks until there is an answer worth having: again when the registry is busy or broken, with a token
    /// when it asks for one, elsewhere when it says so.
    ///
    /// # Errors
    /// What is left when that did not help. An answer that was refused is an error too, but for those with one of
    /// the statuses of `also`.
    pub(super) async fn send(
        &mut self,
        ask: &Ask<'_>,
        also: &[StatusCode],
    ) -> Result<Response, RegistryError> {
        let mut tries = 1;
        loop {
            let answer = self.send_authorized(ask).await?;
            let status = answer.status();
            if status.is_success() || also.contains(&status) {
                return Ok(answer);
            }
            let asked_wait = retry_after(answer.headers());
            let is_passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let wait = asked_wait.unwrap_or_else(|| backoff(tries));
            if !is_passing || tries == TRIES || wait > MAX_WAIT {
                return Err(self.refusal(ask, answer).await);
            }
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    /// Asks, and once more with what the registry asks for.
    async fn send_authorized(&mut self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let answer = self.follow(ask).await?;
        // Another host than the registry is told nothing, and asked for no token.
        if answer.status() != StatusCode::UNAUTHORIZED || answer.url().origin() != self.base.origin() {
            return Ok(answer);
        }
        let Some(challenge) = Challenge::choose(answer.headers().get_all(WWW_AUTHENTICATE).iter()) else {
            return Ok(answer);
        };
        let Some(authorization) = self.authorize(&challenge, ask).await? else { return Ok(answer) };
        let is_known = self.authorization.as_ref() == Some(&authorization);
        self.authorization = Some(authorization);
        // What was refused a moment ago is not sent again.
        if is_known { Ok(answer) } else { self.follow(ask).await }
    }

    /// Asks, and goes where the registry leads, if it is a question and not a delivery.
    async fn follow(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(ask, &url).await?;
            if !answer.status().is_redirection() || !ask.is_read() {
                return Ok(answer);
            }
            url = self.located(&url, answer.headers())?;
        }
        Err(RegistryError::Redirect { registry: self.registry.clone(), why: "in a circle" })
    }

    async fn exchange(&self, ask: &Ask<'_>, url: &Url) -> Result<Response, RegistryError> {
        let mut request = self.http.request(ask.method.clone(), url.clone());
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some((media, body)) = &ask.body {
            request = request.header(CONTENT_TYPE, *media).body(body.clone());
        } else if !ask.is_read() {
            request = request.body(Bytes::new());
        }
        if let Some(authorization) = &self.authorization
            && url.origin() == self.base.origin()
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|error| self.broken(&error))
    }

    /// Returns what answers a challenge; `None` when nothing does.
    async fn authorize(
        &mut self,
        challenge: &Challenge,
        ask: &Ask<'_>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if self.credentials.is_none() {
            self.credentials = Some(self.docker.credentials(&self.registry).await?);
        }
        let credentials = self.credentials.as_ref().and_then(Option::as_ref);
        match challenge {
            Challenge::Basic => Ok(credentials.and_then(auth::password)),
            Challenge::Bearer { .. } if matches!(credentials, Some(Credentials::Bearer(_))) => {
                match credentials {
                    Some(Credentials::Bearer(token)) => Ok(auth::bearer(token)),
                    _ => Ok(None),
                }
            }
            Challenge::Bearer { realm, service, scope } => {
                let actions = if ask.is_read() { "pull" } else { "pull,push" };
                let own = format!("repository:{}:{actions}", self.repository);
                let scope = scope.as_deref().unwrap_or(&own);
                let plain = self.base.host_str().filter(|_| self.base.scheme() == "http");
                let request = auth::token_request((realm, service.as_deref(), scope), credentials, plain)?;
                self.token(request).await.map(Some)
            }
        }
    }

    async fn token(&self, request: auth::TokenRequest) -> Result<HeaderValue, RegistryError> {
        let mut sent = match &request.form {
            Some(form) => {
                let post = self.http.post(request.url.clone());
                post.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.as_bytes().to_vec())
            }
            None => self.http.get(request.url.clone()),
        };
        if let Some(authorization) = request.authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        let answer = sent.send().await.map_err(|error| self.broken(&error))?;
        if !answer.status().is_success() {
            let ask = Ask::get(request.url, "token");
            return Err(self.refusal(&ask, answer).await);
        }
        auth::read_token(&self.small(answer, "token", MAX_TOKEN).await?)
    }

    /// Reads a whole answer that has no length to trust.
    pub(super) async fn small(
        &self,
        answer: Response,
        what: &'static str,
        max: usize,
    ) -> Result<Bytes, RegistryError> {
        let announced = answer.content_length();
        self.collect(answer, what, max, announced, |_| {}).await
    }

    /// Reads an answer of at most `max` bytes, and shows each piece as it comes.
    async fn collect(
        &self,
        mut answer: Response,
        what: &'static str,
        max: usize,
        wanted: Option<u64>,
        mut on_piece: impl FnMut(&[u8]),
    ) -> Result<Bytes, RegistryError> {
        let too_large = |len: u64| Err(RegistryError::TooLarge { what, len, max });
        if let Some(len) = answer.content_length().filter(|&len| len > max as u64) {
            return too_large(len);
        }
        let mut bytes = BytesMut::new();
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) if bytes.len() + piece.len() > max => {
                    return too_large((bytes.len() + piece.len()) as u64);
                }
                Ok(Some(piece)) => {
                    on_piece(&piece);
                    bytes.extend_from_slice(&piece);
                }
                Ok(None) => return Ok(bytes.freeze()),
                Err(error) => return Err(self.broken_off(&error, what, bytes.len(), wanted)),
            }
        }
    }

    /// Fetches content of which digest and length are known, and compares both while it comes. Again when it
    /// is cut off, never when it is something else.
    pub(super) async fn blob(
        &mut self,
        url: Url,
        what: &'static str,
        expected: (Digest, usize),
        mut tell: impl FnMut(u64),
    ) -> Result<Bytes, RegistryError> {
        let mut tries = 1;
        loop {
            let ask = Ask { accept: Some(ANYTHING), ..Ask::get(url.clone(), what) };
            let answer = self.send(&ask, &[]).await?;
            match self.exactly(answer, what, expected, &mut tell).await {
                Err(RegistryError::Truncated { .. }) if tries < TRIES => {
                    tokio::time::sleep(backoff(tries)).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn exactly(
        &self,
        answer: Response,
        what: &'static str,
        (wanted, len): (Digest, usize),
        tell: &mut impl FnMut(u64),
    ) -> Result<Bytes, RegistryError> {
        let (mut hasher, mut done) = (Hasher::default(), 0);
        let on_piece = |piece: &[u8]| {
            hasher.update(piece);
            done += piece.len() as u64;
            tell(done);
        };
        let bytes = self.collect(answer, what, len, Some(len as u64), on_piece).await?;
        if bytes.len() < len {
            return Err(RegistryError::Truncated { what, len: bytes.len() as u64, wanted: len as u64 });
        }
        match hasher.finish() {
            found if found == wanted => Ok(bytes),
            found => Err(RegistryError::WrongDigest { what, wanted, found }),
        }
    }

    fn broken_off(
        &self,
        error: &reqwest::Error,
        what: &'static str,
        len: usize,
        wanted: Option<u64>,
    ) -> RegistryError {
        match wanted {
            Some(wanted) if !error.is_timeout() => RegistryError::Truncated { what, len: len as u64, wanted },
            _ => self.broken(error),
        }
    }

    fn broken(&self, error: &reqwest::Error) -> RegistryError {
        let registry = self.registry.clone();
        let url = format!("{}/v2/", self.base.origin().ascii_serialization());
        if error.is_timeout() {
            return RegistryError::TimedOut { registry, url };
        }
        RegistryError::Unreachable { registry, reason: causes(error), url }
    }

    /// Says what an answer means that is none.
    pub(super) async fn refusal(&self, ask: &Ask<'_>, answer: Response) -> RegistryError {
        let registry = self.registry.clone();
        let status = answer.status();
        let after_s = retry_after(answer.headers()).map(|wait| wait.as_secs());
        let said = self.said(answer).await;
        match status {
            StatusCode::UNAUTHORIZED => {
                let has_credentials = matches!(&self.credentials, Some(Some(_)));
                RegistryError::Unauthorized { registry, has_credentials, said }
            }
            StatusCode::FORBIDDEN => RegistryError::Denied { registry, said },
            StatusCode::NOT_FOUND => RegistryError::NotFound { registry, what: ask.what.to_owned() },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Busy { registry, after_s },
            _ if status.is_redirection() => {
                RegistryError::Redirect { registry, why: "what is delivered to it" }
            }
            _ => RegistryError::Status { registry, status: status.as_u16(), said },
        }
    }

    /// Returns the first message of a refusal, cut and without control characters.
    async fn said(&self, answer: Response) -> Option<String> {
        #[derive(Deserialize)]
        struct Refusal {
            errors: Vec<Said>,
        }
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let bytes = self.small(answer, "refusal", MAX_REFUSAL).await.ok()?;
        let said = serde_json::from_slice::<Refusal>(&bytes).ok()?.errors.into_iter().next()?;
        let text = if said.message.is_empty() { said.code } else { said.message };
        let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect();
        Some(text).filter(|text| !text.is_empty())
    }
}

/// Reads the seconds that a registry asks to wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn backoff(tries: u32) -> Duration {
    let wait = BACKOFF * 2u32.saturating_pow(tries.min(8).saturating_sub(1));
    // Of a hasher's keys, which differ in every process: enough so that many clients do not come back in
    // step.
    let share = (RandomState::new().hash_one(tries) % 512) as u32;
    wait + wait * share / 1024
}

/// Returns what is behind an error of the HTTP library, innermost last, without the address.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_short() {
        for (tries, least_ms, most_ms) in
            [(1, 200, 300), (2, 400, 600), (3, 800, 1200), (u32::MAX, 0, 40_000)]
        {
            let wait = backoff(tries).as_millis();
            assert!((least_ms..=most_ms).contains(&wait), "{tries}: {wait}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        let base = |registry: &str, plain_http| {
            let reference: Reference = format!("oci://{registry}/a/b").parse().unwrap();
            let options = Options { plain_http, ..Options::default() };
            Session::new(&reference, &options).unwrap().url("manifests/1.0").to_string()
        };

        assert_eq!(base("ghcr.io", false), "https://ghcr.io/v2/a/b/manifests/1.0");
        assert_eq!(base("docker.io", false), "https://registry-1.docker.io/v2/a/b/manifests/1.0");
        assert_eq!(base("[::1]:5000", false), "http://[::1]:5000/v2/a/b/manifests/1.0");
        assert_eq!(base("10.0.0.9:5000", true), "http://10.0.0.9:5000/v2/a/b/manifests/1.0");
        let digest = Digest::of(b"");
        let reference: Reference = format!("oci://h/a@{digest}").parse().unwrap();
        let session = Session::new(&reference, &Options::default()).unwrap();
        assert_eq!(
            session.url(&format!("blobs/{digest}")).as_str(),
            format!("https://h/v2/a/blobs/{digest}")
        );
    }

    #[test]
    fn a_location_never_leads_away_from_tls() {
        let reference: Reference = "oci://ghcr.io/a".parse().unwrap();
        let session = Session::new(&reference, &Options::default()).unwrap();
        let from = session.url("blobs/uploads/");
        let located = |location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
            session.located(&from, &headers).map(|url| url.to_string())
        };

        assert_eq!(located("/v2/a/blobs/uploads/7").unwrap(), "https://ghcr.io/v2/a/blobs/uploads/7");
        assert_eq!(located("https://cdn.example.org/x?sig=1").unwrap(), "https://cdn.example.org/x?sig=1");
        for location in ["http://ghcr.io/x", "file:///etc/passwd", "data:,x"] {
            assert!(matches!(located(location), Err(RegistryError::Redirect { .. })), "{location}");
        }
        assert!(session.located(&from, &HeaderMap::new()).is_err());
    }
}
