//! What strangers send is read without a panic, whatever it is.

use fastrand::Rng;

use super::artifact::{Config, decode_signature};
use super::auth::{Challenge, read_token};
use super::manifest::{Index, Manifest};
use super::{Digest, Reference};

/// Inputs of each decoder; one run takes a second unoptimised.
const RUNS: usize = 20_000;

const SEEDS: [&str; 5] = [
    r#"Bearer realm="https://a/t",service="s, x",scope="repository:a:pull", Basic realm=r"#,
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":
        "application/vnd.wasm.config.v0+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},
        "layers":[{"mediaType":"application/wasm","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}"#,
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:00","size":1,"artifactType":null}]}"#,
    "oci://[::1]:5000/a/b-c:v1@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    r#"{"token":"a.b","created":"x","architecture":"wasm","os":"wasip2","layerDigests":[],"meshwork":{"manifest":""}}"#,
];

/// A seed with a few bytes replaced, doubled or dropped.
fn damaged(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = SEEDS[rng.usize(..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..bytes.len().max(1)).min(bytes.len());
        match rng.u8(..4) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 => bytes.insert(at, b"\",=:@[]{}\\ /"[rng.usize(..12)]),
            2 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

#[test]
fn damaged_answers_are_errors_and_never_panics() {
    let mut rng = Rng::with_seed(7);
    let mut read = 0;

    for _ in 0..RUNS {
        let bytes = damaged(&mut rng);
        let text = String::from_utf8_lossy(&bytes);
        let header = reqwest::header::HeaderValue::from_bytes(&bytes);
        read += usize::from(Challenge::choose(header.iter()).is_some());
        read += usize::from(Manifest::parse(&bytes).is_ok_and(|manifest| manifest.component().is_ok()));
        read += usize::from(Index::parse(&bytes).is_ok());
        read += usize::from(serde_json::from_slice::<Config>(&bytes).is_ok());
        read += usize::from(read_token(&bytes).is_ok());
        read += usize::from(decode_signature(&bytes).is_ok());
        read += usize::from(text.parse::<Digest>().is_ok());
        if let Ok(reference) = text.parse::<Reference>() {
            assert_eq!(reference.to_string(), text, "there is one text for each reference");
            read += 1;
        }
    }

    assert!(read > 0, "some of them stay whole");
}
