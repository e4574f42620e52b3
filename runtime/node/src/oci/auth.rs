//! What a registry answers to a stranger, and how a token is had: the challenges of RFC 7235, and the token
//! endpoints of the distribution specification.
//!
//! Makes and reads texts; the requests are the session's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::docker::Credentials;
use super::error::RegistryError;

/// Challenges of one answer that are looked at.
const MAX_CHALLENGES: usize = 8;
/// Parameters of one challenge.
const MAX_PARAMETERS: usize = 16;
/// Who asks for a token, as the endpoint's log shows it.
const CLIENT: &str = "meshctl";

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from this place.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Returns the challenge to answer: a token where one can be had, else a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a HeaderValue>) -> Option<Challenge> {
        let texts = headers.filter_map(|value| value.to_str().ok()).take(MAX_CHALLENGES);
        let mut found: Vec<Challenge> = texts.flat_map(challenges).collect();
        let at = found.iter().position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        match at {
            Some(at) => Some(found.swap_remove(at)),
            None => found.pop(),
        }
    }
}

/// Reads `Basic realm="x", Bearer realm="y",service="z"`.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && found.len() < MAX_CHALLENGES {
        let (scheme, after) = word(rest);
        let (parameters, after) = parameters(after.trim_start());
        let get = |name: &str| {
            let fits = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
            parameters.iter().find(fits).map(|(_, value)| value.clone())
        };
        match (scheme.to_ascii_lowercase().as_str(), get("realm")) {
            ("basic", _) => found.push(Challenge::Basic),
            ("bearer", Some(realm)) => {
                found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
            }
            _ => {}
        }
        if scheme.is_empty() && after.len() == rest.len() {
            break;
        }
        rest = after;
    }
    found
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == ',' || c == '=').unwrap_or(text.len());
    text.split_at(end)
}

/// Reads `a="b", c=d` up to the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    while found.len() < MAX_PARAMETERS {
        let here = rest.trim_start_matches([',', ' ', '\t']);
        let (key, after) = word(here);
        let Some(after) = after.trim_start().strip_prefix('=') else { return (found, here) };
        let (value, after) = value(after.trim_start());
        found.push((key.to_owned(), value));
        rest = after;
    }
    (found, "")
}

/// Reads a word or a quoted text.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = word(text);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// A request for a token: where to, what proves who asks, and a form if it is a POST.
pub(super) struct TokenRequest {
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) form: Option<Zeroizing<String>>,
}

/// Makes the request for a token.
///
/// # Errors
/// [`RegistryError::BadAnswer`] for a place that no token is fetched from: no URL, or one that would send the
/// credentials in the clear to another host than `plain`, the registry where it is reached without TLS itself.
pub(super) fn token_request(
    challenge: (&str, Option<&str>, &str),
    credentials: Option<&Credentials>,
    plain: Option<&str>,
) -> Result<TokenRequest, RegistryError> {
    let (realm, service, scope) = challenge;
    let bad = |reason: &str| RegistryError::BadAnswer { what: "place for tokens", reason: reason.to_owned() };
    let mut url = Url::parse(realm).map_err(|error| bad(&error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if plain.is_some() && url.host_str() == plain => {}
        _ => return Err(bad("it is not reached over TLS")),
    }
    let mut fields = url.clone();
    fields.set_query(None);
    fields
        .query_pairs_mut()
        .extend_pairs(service.map(|service| ("service", service)))
        .append_pair("scope", scope);
    if let Some(Credentials::Identity(token)) = credentials {
        fields.query_pairs_mut().append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT);
        fields.query_pairs_mut().append_pair("refresh_token", token);
        let form = Zeroizing::new(fields.query().unwrap_or_default().to_owned());
        return Ok(TokenRequest { url, authorization: None, form: Some(form) });
    }
    let added = fields.query().unwrap_or_default().to_owned();
    let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("{query}&{added}"));
    url.set_query(Some(&query.unwrap_or(added)));
    Ok(TokenRequest { url, authorization: credentials.and_then(password), form: None })
}

/// Returns the header with name and password.
pub(super) fn password(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials::Basic { user, password } = credentials else { return None };
    let pair = Zeroizing::new(format!("{user}:{}", **password));
    secret_header("Basic", &STANDARD.encode(pair.as_bytes()))
}

/// Returns the header with a token.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret_header("Bearer", token)
}

fn secret_header(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("{scheme} {secret}"));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the endpoint answers.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

/// Reads the token out of an answer.
///
/// # Errors
/// [`RegistryError::BadAnswer`]; never with what the answer holds.
pub(super) fn read_token(answer: &[u8]) -> Result<HeaderValue, RegistryError> {
    let bad = |reason: &str| RegistryError::BadAnswer { what: "token", reason: reason.to_owned() };
    let answer: TokenAnswer =
        serde_json::from_slice(answer).map_err(|_| bad("it is no JSON with a token"))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| bad("there is none in the answer"))?;
    bearer(&token).ok_or_else(|| bad("it cannot stand in a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[&str]) -> Option<Challenge> {
        let values: Vec<HeaderValue> =
            texts.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
        Challenge::choose(values.iter())
    }

    fn bearer_of(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        for (texts, want) in [
            (&["Basic realm=\"r\""][..], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (
                &["Bearer realm=\"https://a/t\",service=\"s, x\",scope=\"repository:a:pull,push\""],
                bearer_of("https://a/t", Some("s, x"), Some("repository:a:pull,push")),
            ),
            (&["Basic realm=\"r\", Bearer realm=\"https://a\""], bearer_of("https://a", None, None)),
            (
                &["Basic realm=\"r\"", "BEARER Realm=https://a , Service = s"],
                bearer_of("https://a", Some("s"), None),
            ),
            (&["Bearer realm=\"a\\\"b\""], bearer_of("a\"b", None, None)),
            (&["Bearer service=\"s\""], None),
            (&["Negotiate abc==", "Digest realm=\"x\""], None),
            (&[""], None),
            (&[",,,=,="], None),
            (&["Bearer realm=\"unfinished"], bearer_of("unfinished", None, None)),
        ] {
            assert_eq!(chosen(texts), want, "{texts:?}");
        }
    }

    #[test]
    fn endless_challenges_are_cut() {
        let many = "Basic a=b, ".repeat(10_000);

        assert_eq!(chosen(&[&many]), Some(Challenge::Basic));
    }

    #[test]
    fn credentials_do_not_leave_tls() {
        let basic = Credentials::Basic { user: "ada".to_owned(), password: Zeroizing::new("s".to_owned()) };
        let ask = |realm, plain| token_request((realm, Some("s"), "repository:a:pull"), Some(&basic), plain);

        let made = ask("https://auth.example.org/token?x=1", None).unwrap();

        assert_eq!(
            made.url.as_str(),
            "https://auth.example.org/token?x=1&service=s&scope=repository%3Aa%3Apull"
        );
        assert_eq!(made.authorization.as_ref().and_then(|value| value.to_str().ok()), Some("Basic YWRhOnM="));
        assert!(made.authorization.is_some_and(|value| value.is_sensitive()));
        assert!(ask("http://127.0.0.1:81/token", Some("127.0.0.1")).is_ok());
        assert!(ask("https://auth.example.org/token", Some("127.0.0.1")).is_ok());
        for realm in ["http://auth.example.org/token", "file:///etc/passwd", "nonsense", ""] {
            assert!(ask(realm, None).is_err(), "{realm}");
            assert!(ask(realm, Some("127.0.0.1")).is_err(), "{realm}");
        }
    }

    #[test]
    fn an_identity_token_is_posted_and_never_in_a_url() {
        let identity = Credentials::Identity(Zeroizing::new("refresh me".to_owned()));

        let made = token_request(("https://a/t", None, "repository:a:pull"), Some(&identity), None).unwrap();

        assert_eq!((made.url.as_str(), made.authorization), ("https://a/t", None));
        let form = made.form.unwrap();
        assert_eq!(
            &**form,
            "scope=repository%3Aa%3Apull&grant_type=refresh_token&client_id=meshctl&refresh_token=refresh+me"
        );
    }

    #[test]
    fn tokens_are_read_by_either_name() {
        for (answer, want) in [
            (r#"{"token":"a.b"}"#, Some("Bearer a.b")),
            (r#"{"access_token":"c","expires_in":60}"#, Some("Bearer c")),
            (r#"{"token":""}"#, None),
            (r#"{"token":"a\nb"}"#, None),
            ("{}", None),
            ("secret", None),
        ] {
            let read = read_token(answer.as_bytes());
            assert_eq!(read.as_ref().ok().and_then(|value| value.to_str().ok()), want, "{answer}");
            assert!(!format!("{read:?}").contains("secret"));
        }
    }
}
