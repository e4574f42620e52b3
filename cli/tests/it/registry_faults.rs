//! Registries that lie, break, lead elsewhere and want too much. ADV10, W16.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use mesh_node::oci::{Artifact, Digest};
use mesh_plugin_host::builtin;
use serde_json::{Value, json};

use crate::harness::{Place, write};
use crate::package::{component, key, sign};
use crate::registry_kit::{AUTH, Answer, Asked, Fake, INDEX, MANIFEST};

const TAGGED: &str = "/v2/acme/fast/manifests/1.0.0";

/// What an honest registry has: acme/fast 1.0.0, unsigned.
#[derive(Clone)]
struct Shop {
    artifact: Artifact,
    blob: String,
}

impl Shop {
    fn new() -> Shop {
        Shop::of(component(builtin::LATENCY, "acme/fast", "1.0.0"))
    }

    fn of(file: Vec<u8>) -> Shop {
        let artifact = Artifact::of(&Bytes::from(file)).unwrap();
        let blob = format!("/v2/acme/fast/blobs/{}", Digest::of(&artifact.component));
        Shop { artifact, blob }
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let config = format!("/v2/acme/fast/blobs/{}", Digest::of(&self.artifact.config));
        let path = asked.path.as_str();
        if path == TAGGED || path.ends_with(&format!("/manifests/{}", self.artifact.digest())) {
            return Answer::new(200, &self.artifact.manifest[..]).header("Content-Type", MANIFEST);
        }
        match path {
            path if path == self.blob => Answer::new(200, &self.artifact.component[..]),
            path if path == config => Answer::new(200, &self.artifact.config[..]),
            _ => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        }
    }

    /// The manifest with something changed, as an answer.
    fn altered(&self, change: impl FnOnce(&mut Value)) -> Answer {
        let mut manifest = serde_json::from_slice(&self.artifact.manifest).unwrap();
        change(&mut manifest);
        Answer::new(200, manifest.to_string()).header("Content-Type", MANIFEST)
    }
}

/// A registry in which one path is answered otherwise.
fn fake(shop: &Shop, path: &str, answer: Answer) -> Fake {
    let (shop, path) = (shop.clone(), path.to_owned());
    Fake::new(move |asked| if asked.path == path { answer.clone() } else { shop.answer(asked) })
}

fn reference(fake: &Fake) -> String {
    format!("oci://{}/acme/fast:1.0.0", fake.addr)
}

#[track_caller]
fn refused(place: &Place, fake: &Fake) -> (String, i64, Value) {
    let error = place.error(&["plugin", "install", &reference(fake)]);
    assert!(!error["help"].as_array().unwrap().is_empty(), "{error}");
    (error["code"].as_str().unwrap().to_owned(), error["exit"].as_i64().unwrap(), error)
}

#[test]
fn whatever_a_registry_answers_there_is_a_code_and_nothing_is_installed() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let shop = Shop::new();
    let len = shop.artifact.component.len();
    let mut flipped = shop.artifact.component.to_vec();
    flipped[len / 2] ^= 1;
    let short = Answer { announced: Some(len), ..Answer::new(200, &shop.artifact.component[..len / 2]) };
    let endless = || Answer { is_endless: true, ..Answer::new(200, vec![b' '; 64 << 10]) };
    let other = Digest::of(b"other").to_string();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let later = Answer::new(429, "").header("Retry-After", 3600);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [{}, {}] }).to_string();
    for (what, path, answer, want, asked) in [
        ("another component", &*shop.blob, Answer::new(200, flipped), ("MESH-P175", 6), 1),
        ("a truncated component", &shop.blob, short, ("MESH-P175", 6), 4),
        ("a shorter component", &shop.blob, Answer::new(200, "x"), ("MESH-P175", 6), 4),
        ("an endless component", &shop.blob, endless(), ("MESH-P106", 13), 1),
        ("no component", &shop.blob, Answer::new(404, ""), ("MESH-P172", 3), 1),
        (
            "a manifest of another digest",
            TAGGED,
            shop.altered(|_| {}).header("Docker-Content-Digest", &other),
            ("MESH-P175", 6),
            1,
        ),
        ("an endless manifest", TAGGED, endless(), ("MESH-P106", 13), 1),
        (
            "an announced endless manifest",
            TAGGED,
            Answer { announced: Some(1 << 40), ..Answer::new(200, "") },
            ("MESH-P106", 13),
            1,
        ),
        (
            "a huge component",
            TAGGED,
            shop.altered(|m| m["layers"][0]["size"] = (40u64 << 30).into()),
            ("MESH-P106", 13),
            1,
        ),
        (
            "a huge config",
            TAGGED,
            shop.altered(|m| m["config"]["size"] = (40u64 << 30).into()),
            ("MESH-P106", 13),
            1,
        ),
        (
            "an image of a container",
            TAGGED,
            shop.altered(|m| m["layers"][0]["mediaType"] = gzip.into()),
            ("MESH-P176", 7),
            1,
        ),
        ("an index", TAGGED, Answer::new(200, index).header("Content-Type", INDEX), ("MESH-P176", 7), 1),
        ("a web page", TAGGED, Answer::new(200, "<html>"), ("MESH-P176", 7), 1),
        ("a stranger", TAGGED, Answer::new(401, ""), ("MESH-P171", 5), 1),
        (
            "a refusal",
            TAGGED,
            Answer::new(403, r#"{"errors":[{"code":"DENIED","message":"not you\u001b[2J"}]}"#),
            ("MESH-P171", 5),
            1,
        ),
        ("nothing", TAGGED, Answer::new(404, "404 page not found"), ("MESH-P172", 3), 1),
        ("a limit for an hour", TAGGED, later, ("MESH-P173", 13), 1),
        ("a limit each time", TAGGED, Answer::new(429, "").header("Retry-After", 0), ("MESH-P173", 13), 4),
        ("a fault each time", TAGGED, Answer::new(500, "secret stack"), ("MESH-P174", 1), 4),
        ("a circle", TAGGED, Answer::new(307, "").header("Location", TAGGED), ("MESH-P174", 1), 5),
        (
            "a way out of the network",
            TAGGED,
            Answer::new(307, "").header("Location", "file:///etc/passwd"),
            ("MESH-P174", 1),
            1,
        ),
        ("a redirect to nowhere", TAGGED, Answer::new(307, ""), ("MESH-P174", 1), 1),
        (
            "endless challenges",
            TAGGED,
            Answer::new(401, "").header("WWW-Authenticate", "Bearer a=b, ".repeat(3000)),
            ("MESH-P171", 5),
            1,
        ),
        (
            "a realm that is none",
            TAGGED,
            Answer::new(401, "").header("WWW-Authenticate", "Bearer realm=\"file:///etc/passwd\""),
            ("MESH-P174", 1),
            1,
        ),
        (
            "a token of a refusal",
            TAGGED,
            Answer::new(401, "").header("WWW-Authenticate", "Bearer realm=\"/token\""),
            ("MESH-P174", 1),
            1,
        ),
    ] {
        let fake = fake(&shop, path, answer);

        let (code, exit, error) = refused(&place, &fake);

        assert_eq!((code.as_str(), exit), want, "{what}: {error}");
        assert_eq!(fake.count(path), asked, "{what} is asked for that often");
        assert!(path == shop.blob || fake.count("/blobs/") == 0, "{what}: nothing is fetched");
        assert!(!error.to_string().contains("\\u001b"), "{what}: {error}");
    }
    assert!(!place.data_dir("bob").join("plugins.lock").exists());
    let rows = place.json(&["plugin", "list"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["plugin"] != "acme/fast"), "{rows}");
}

#[test]
fn what_passes_is_tried_again() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let shop = Shop::new();
    let mut faults = vec![Answer::new(503, ""), Answer::new(429, "").header("Retry-After", 0)];
    let half = shop.artifact.component.len() / 2;
    let whole = Some(shop.artifact.component.len());
    let mut cuts = vec![Answer { announced: whole, ..Answer::new(200, &shop.artifact.component[..half]) }];
    let (honest, blob) = (shop.clone(), shop.blob.clone());
    let fake = Fake::new(move |asked| {
        let fault = match &*asked.path {
            TAGGED => faults.pop(),
            path if path == blob => cuts.pop(),
            _ => None,
        };
        fault.unwrap_or_else(|| honest.answer(asked))
    });

    let installed = place.json(&["plugin", "install", &reference(&fake)]);

    assert_eq!(installed["plugin"], "acme/fast");
    assert_eq!((fake.count(TAGGED), fake.count(&shop.blob)), (3, 2));
}

fn login(place: &Place, fake: &Fake) {
    let docker = place.path().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    let config = json!({ "auths": { (fake.addr.to_string()): { "auth": AUTH } } });
    fs::write(docker.join("config.json"), config.to_string()).unwrap();
}

/// CVE-2020-15157: where a registry sends us gets the question and not the credentials.
#[test]
fn another_host_never_gets_the_credentials() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let shop = Shop::new();
    let honest = shop.clone();
    let elsewhere = Fake::new(move |asked| match asked.path.as_str() {
        "/greedy" => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"give\""),
        _ => honest.answer(asked),
    });
    let target = elsewhere.addr;
    let guarded = |path: &'static str| {
        let (shop, blob) = (shop.clone(), shop.blob.clone());
        move |asked: &Asked| match asked.headers.get("authorization") {
            None => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\""),
            Some(_) if asked.path == blob => {
                let path = if path.is_empty() { &blob } else { path };
                Answer::new(307, "").header("Location", format!("http://{target}{path}"))
            }
            Some(_) => shop.answer(asked),
        }
    };
    let fake = Fake::new(guarded(""));
    login(&place, &fake);

    let installed = place.json(&["plugin", "install", &reference(&fake)]);

    assert_eq!(installed["plugin"], "acme/fast");
    assert!(
        fake.asked().iter().any(|asked| asked.headers.get("authorization") == Some(&format!("Basic {AUTH}")))
    );
    let fake = Fake::new(guarded("/greedy"));
    login(&place, &fake);
    assert_eq!(refused(&place, &fake).0, "MESH-P171");
    assert_eq!(elsewhere.asked().len(), 2);
    assert!(elsewhere.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
}

/// The flow of tokens: the password goes to the place that the registry names, and only what comes back to
/// the registry.
#[test]
fn a_token_is_fetched_for_what_is_asked_and_no_more() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let shop = Shop::new();
    let guard = |challenge: String| {
        let shop = shop.clone();
        move |asked: &Asked| match asked.headers.get("authorization").map(String::as_str) {
            _ if asked.path.starts_with("/token") && asked.method == "POST" => {
                Answer::new(200, r#"{"access_token":"tok"}"#)
            }
            Some(auth) if asked.path.starts_with("/token?") && auth == format!("Basic {AUTH}") => {
                Answer::new(200, r#"{"token":"tok","expires_in":60}"#)
            }
            _ if asked.path.starts_with("/token") => Answer::new(403, ""),
            Some("Bearer tok") => shop.answer(asked),
            _ => Answer::new(401, "").header("WWW-Authenticate", &challenge),
        }
    };
    let auth = Fake::new(guard(String::new()));
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"shop\",scope=\"repository:acme/fast:pull\"",
        auth.addr
    );
    let fake = Fake::new(guard(challenge));
    assert_eq!(refused(&place, &fake).0, "MESH-P171", "a stranger gets no token");
    login(&place, &fake);

    place.json(&["plugin", "install", &reference(&fake)]);

    let tokens: Vec<Asked> =
        auth.asked().into_iter().filter(|asked| asked.headers.contains_key("authorization")).collect();
    assert_eq!(tokens.len(), 1, "one token serves all requests");
    assert_eq!(tokens[0].path, "/token?service=shop&scope=repository%3Aacme%2Ffast%3Apull");
    let sent = fake.asked();
    assert!(
        sent.iter().filter_map(|asked| asked.headers.get("authorization")).all(|value| value == "Bearer tok")
    );

    let docker =
        json!({ "auths": { (fake.addr.to_string()): { "auth": AUTH, "identitytoken": "refresh-me" } } });
    fs::write(place.path().join(".docker/config.json"), docker.to_string()).unwrap();
    place.json(&["plugin", "install", &reference(&fake)]);
    let posted = auth.asked().pop().unwrap();
    assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", "/token"));
    let form = String::from_utf8(posted.body).unwrap();
    assert!(
        form.contains("grant_type=refresh_token") && form.ends_with("refresh_token=refresh-me"),
        "{form}"
    );
}

/// A node that trusts acme, whose signed plugin is in `fast.meshpkg`.
fn trusting() -> Place {
    let mut place = Place::new();
    place.up("bob", &[]);
    let acme = key(&place, "acme.key");
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    sign(&place, "fast.wasm", "acme.key", "fast.meshpkg");
    place
}

/// W16: signatures beside a plugin are verified like those in a file; one that does not hold counts for nothing.
#[test]
fn a_registry_cannot_forge_a_signature_or_show_another_manifest() {
    let place = trusting();
    let shop = Shop::of(fs::read(place.path().join("fast.meshpkg")).unwrap());
    let genuine = shop.artifact.signatures[0].to_vec();
    let forged = {
        let mut blob = genuine.clone();
        *blob.last_mut().unwrap() ^= 1;
        blob
    };
    let foreign = json!({ "digest": Digest::of(b"other"), "size": 5, "mediaType": MANIFEST });
    let subject = json!({ "digest": shop.artifact.digest(), "size": shop.artifact.manifest.len(), "mediaType": MANIFEST });
    for (what, blob, subject, want) in [
        ("forged", forged, &subject, "unsigned"),
        ("of another plugin", genuine.clone(), &foreign, "unsigned"),
        ("unreadable", vec![7; 90], &subject, "unsigned"),
        // Last, because a node does not forget a signature.
        ("genuine", genuine, &subject, "trusted"),
    ] {
        let fake = beside(&shop, &[blob], subject, &[], &[]);
        let (found, warnings) = installed(&place, &fake);
        assert_eq!(found, want, "{what}");
        assert_eq!(!warnings.is_empty(), ["forged", "unreadable"].contains(&what), "{what}: {warnings:?}");
    }

    let mut config: Value = serde_json::from_slice(&shop.artifact.config).unwrap();
    config["meshwork"]["manifest"] = "[plugin]\nname = \"acme/other\"\n".into();
    let config = config.to_string();
    let descriptor = json!({ "mediaType": "application/vnd.wasm.config.v0+json", "digest": Digest::of(config.as_bytes()), "size": config.len() });
    let path = format!("/v2/acme/fast/blobs/{}", Digest::of(config.as_bytes()));
    let manifest = shop.altered(|manifest| manifest["config"] = descriptor);
    let fake = Fake::new(move |asked| match &asked.path {
        asked if *asked == path => Answer::new(200, config.clone()),
        asked if asked == TAGGED => manifest.clone(),
        _ => shop.answer(asked),
    });
    assert_eq!(refused(&place, &fake).0, "MESH-P126");
}

/// Whoever may put something beside a plugin keeps nobody from installing it, and displaces no signature.
#[test]
fn rubbish_beside_a_plugin_is_told_and_left_out() {
    let place = trusting();
    sign(&place, "fast.wasm", "acme.key", "later.meshpkg");
    let shop = Shop::of(fs::read(place.path().join("fast.meshpkg")).unwrap());
    let later = Shop::of(fs::read(place.path().join("later.meshpkg")).unwrap());
    let genuine = shop.artifact.signatures[0].to_vec();
    let mut forged = later.artifact.signatures[0].to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let subject = json!({ "digest": shop.artifact.digest(), "size": shop.artifact.manifest.len(), "mediaType": MANIFEST });
    let no_list = b"no list".to_vec();
    let others = [
        (json!({ "digest": Digest::of(b"gone"), "size": 4 }), Vec::new()),
        (json!({ "digest": Digest::of(b"large"), "size": 1u64 << 40 }), Vec::new()),
        (json!({ "digest": Digest::of(&no_list), "size": no_list.len() }), no_list),
        (json!({ "digest": Digest::of(b"other"), "size": 5 }), b"wrong".to_vec()),
    ];
    let fake = beside(&shop, &[genuine, forged], &subject, &others, &[]);

    let (found, warnings) = installed(&place, &fake);

    assert_eq!((found.as_str(), warnings.len()), ("trusted", others.len() + 1), "{warnings:?}");
}

/// ADV10: keys that nobody knows sign what they like, later and in front, and displace no signature that counts.
#[test]
fn signatures_of_strangers_do_not_crowd_out_a_trusted_one() {
    let place = trusting();
    let shop = Shop::of(fs::read(place.path().join("fast.meshpkg")).unwrap());
    let genuine = shop.artifact.signatures[0].to_vec();
    let subject = json!({ "digest": shop.artifact.digest(), "size": shop.artifact.manifest.len(), "mediaType": MANIFEST });
    let strangers: Vec<Vec<u8>> = (0..10)
        .map(|n| {
            let (name, out) = (format!("stranger{n}.key"), format!("stranger{n}.meshpkg"));
            key(&place, &name);
            sign(&place, "fast.wasm", &name, &out);
            Shop::of(fs::read(place.path().join(out)).unwrap()).artifact.signatures[0].to_vec()
        })
        .collect();
    let lists: Vec<(Value, Vec<u8>)> =
        strangers.chunks(1).chain([&strangers[..8]]).map(|blobs| list(blobs, &subject)).collect();
    let fake = beside(&shop, &[genuine], &subject, &lists, &strangers);

    let ran = place.run(&["plugin", "install", &reference(&fake), "--json"]);

    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let signers = told["data"]["signers"].as_array().unwrap();
    let trusted = signers.iter().filter(|signer| signer["state"] == "trusted").count();
    assert_eq!((signers.len(), trusted), (8, 1), "{told}");
}

/// ADV10: what claims to be of a trusted key and is not uses up what is looked at; then the refusal says so.
#[test]
fn a_flood_of_false_claims_is_told_with_the_refusal() {
    let mut place = trusting();
    let shop = Shop::of(fs::read(place.path().join("fast.meshpkg")).unwrap());
    let genuine = shop.artifact.signatures[0].to_vec();
    let subject = json!({ "digest": shop.artifact.digest(), "size": shop.artifact.manifest.len(), "mediaType": MANIFEST });
    let trusted = place.json(&["plugin", "trust", "list"])[0]["key"].clone();
    let signers = json!({ "dev.meshwork.plugin.signers": trusted });
    let rubbish: Vec<Vec<u8>> = (0..300u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let lists: Vec<(Value, Vec<u8>)> = rubbish
        .iter()
        .map(|blob| {
            let (mut entry, content) = list(std::slice::from_ref(blob), &subject);
            entry["annotations"] = signers.clone();
            (entry, content)
        })
        .collect();
    let fake = beside(&shop, &[genuine], &subject, &lists, &rubbish);
    place.json(&["down"]);
    place.up("bob", &["--require-signed-plugins"]);

    let error = place.error(&["plugin", "install", &reference(&fake)]);

    assert_eq!(error["code"], "MESH-P118");
    let warning = error["facts"]["warning"][0].as_str().unwrap_or_default();
    assert!(warning.contains("256 of them claim to be of a key that this node knows and are not"), "{error}");
    assert!(warning.contains("install the publisher's .meshpkg"), "{error}");
}

/// Installs what the registry has; returns what its first signer counts for, and the warnings.
#[track_caller]
fn installed(place: &Place, fake: &Fake) -> (String, Vec<Value>) {
    let ran = place.run(&["plugin", "install", &reference(fake), "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let state = told["data"]["signers"][0]["state"].as_str().unwrap_or("unsigned").to_owned();
    (state, told["warnings"].as_array().cloned().unwrap_or_default())
}

const SIGNATURES: &str = "application/vnd.meshwork.plugin.signatures.v1";

fn describe(media: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media, "digest": Digest::of(content), "size": content.len() })
}

/// A list of these signatures: its descriptor, and itself.
fn list(blobs: &[Vec<u8>], subject: &Value) -> (Value, Vec<u8>) {
    let layers: Vec<Value> =
        blobs.iter().map(|blob| describe("application/vnd.meshwork.plugin.signature.v1", blob)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGNATURES, "subject": subject,
        "config": describe("application/vnd.oci.empty.v1+json", b"{}"), "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    (describe(MANIFEST, &manifest), manifest)
}

/// A registry with the referrers API, one artifact with these signatures, and before it others with what stands
/// there in their place; nothing stands for none. `more` are signatures that the others name.
fn beside(
    shop: &Shop,
    blobs: &[Vec<u8>],
    subject: &Value,
    others: &[(Value, Vec<u8>)],
    more: &[Vec<u8>],
) -> Fake {
    let (entry, manifest) = list(blobs, subject);
    let at = |place: &str, digest: &Value| format!("/v2/acme/fast/{place}/{}", digest.as_str().unwrap());
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    contents.insert(at("manifests", &entry["digest"]), manifest);
    contents
        .extend(blobs.iter().chain(more).map(|blob| (at("blobs", &json!(Digest::of(blob))), blob.clone())));
    let there = others.iter().filter(|(_, content)| !content.is_empty());
    contents.extend(there.map(|(entry, content)| (at("manifests", &entry["digest"]), content.clone())));
    let sbom = json!({ "mediaType": MANIFEST, "digest": Digest::of(b"sbom"), "size": 4, "artifactType": "application/spdx+json" });
    let mut manifests = vec![sbom];
    for mut entry in others.iter().map(|(entry, _)| entry.clone()).chain([entry]) {
        entry["mediaType"] = MANIFEST.into();
        entry["artifactType"] = SIGNATURES.into();
        manifests.push(entry);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }).to_string();
    let list = format!("/v2/acme/fast/referrers/{}", shop.artifact.digest());
    let shop = shop.clone();
    Fake::new(move |asked| match contents.get(&asked.path) {
        Some(content) => Answer::new(200, content.clone()),
        None if asked.path.starts_with(&list) => {
            Answer::new(200, index.clone()).header("Content-Type", INDEX)
        }
        None => shop.answer(asked),
    })
}

/// A place for uploads on another host, as cloud registries have it, gets the component and no credentials.
#[test]
fn an_upload_elsewhere_goes_without_credentials_and_a_failed_one_moves_no_tag() {
    let place = Place::new();
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    let elsewhere = Fake::new(|_| Answer::new(201, ""));
    let (target, blob) = (elsewhere.addr, "/v2/acme/fast/blobs/uploads/");
    let registry = |upload_status| {
        move |asked: &Asked| match (asked.method.as_str(), asked.headers.contains_key("authorization")) {
            (_, false) => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\""),
            ("POST", _) if asked.path == blob => {
                Answer::new(upload_status, "").header("Location", format!("http://{target}/put?sig=1"))
            }
            ("PUT", _) => Answer::new(201, ""),
            _ => Answer::new(404, ""),
        }
    };
    let fake = Fake::new(registry(202));
    login(&place, &fake);

    let published = place.json(&["plugin", "publish", "fast.wasm", &reference(&fake)]);

    assert_eq!(published["tag"], "new");
    let put = elsewhere.asked();
    assert_eq!(put.len(), 2, "component and config");
    assert!(put[0].path.starts_with("/put?sig=1&digest=sha256%3A"), "{}", put[0].path);
    assert_eq!(put[0].body, fs::read(place.path().join("fast.wasm")).unwrap());
    assert!(put.iter().all(|asked| !asked.headers.contains_key("authorization")));
    let fake = Fake::new(registry(403));
    login(&place, &fake);
    assert_eq!(place.error(&["plugin", "publish", "fast.wasm", &reference(&fake)])["code"], "MESH-P171");
    assert!(fake.asked().iter().all(|asked| asked.method != "PUT"), "the tag comes last");
}

#[test]
fn offline_never_dials_and_a_wrong_reference_is_refused_before() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let fake = Fake::new(|_| Answer::new(500, ""));

    let error = place.error(&["plugin", "install", &reference(&fake), "--offline"]);

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P178".into(), &3.into()));
    let offline =
        place.command(&["plugin", "install", &reference(&fake), "--json"]).env("MESH_OFFLINE", "1").output();
    assert_eq!(offline.unwrap().status.code(), Some(3), "the variable says the same");
    for text in ["oci://", "oci://h", "oci://u:p@h/a", "oci://h/A", "oci://h/a@sha256:00"] {
        assert_eq!(place.error(&["plugin", "install", text])["code"], "MESH-P179", "{text}");
    }
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    let exact = format!("{}@{}", reference(&fake), Digest::of(b""));
    assert_eq!(place.error(&["plugin", "publish", "fast.wasm", &exact])["code"], "MESH-P179");
    write(&place, "core.wasm", b"\0asm\x01\0\0\0");
    assert_eq!(place.error(&["plugin", "publish", "core.wasm", &reference(&fake)])["code"], "MESH-P103");
    assert_eq!(fake.asked().len(), 0);
}
