//! Registries for tests: Debian's real one, and one that does whatever a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use tempfile::TempDir;

use crate::harness::DEADLINE;

/// `s3cret:with:colons` as htpasswd keeps it, at the lowest cost.
const HTPASSWD: &str = "ada:$2b$04$Hn1azG1NkRcI3uXNIVya6ex5hLRGESKhggNdPI24zJUuHfRArMvsq\n";
/// What stands for it in `auths` of Docker's configuration.
pub const AUTH: &str = "YWRhOnMzY3JldDp3aXRoOmNvbG9ucw==";
/// An address that is no loopback address and leads to this machine all the same.
const ANY: &str = "0.0.0.0";
pub const PASSWORD: &str = "s3cret:with:colons";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Debian's docker-registry on a port of its own; ends with this value.
pub struct Registry {
    child: Child,
    pub addr: SocketAddr,
    dir: TempDir,
}

/// Whether a stranger may use the registry.
#[derive(Clone, Copy, PartialEq)]
pub enum Door {
    Open,
    Password,
    /// Open, behind TLS with a certificate that only [`Registry::roots`] knows.
    Tls,
}

impl Registry {
    /// Starts one. Without the program the test fails and says what to install, unless the environment says
    /// that it cannot be had here.
    #[track_caller]
    pub fn start(door: Door) -> Option<Registry> {
        if std::env::var_os("MESH_TEST_WITHOUT_REGISTRY").is_some() {
            eprintln!(
                "NOT TESTED: MESH_TEST_WITHOUT_REGISTRY is set, so nothing is asked of a real registry"
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), door);
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program());
        command.arg("serve").arg(&file).env_clear().stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("docker-registry: {error}; install it (apt-get install docker-registry), or set MESH_TEST_WITHOUT_REGISTRY")
        });
        let addr = listening(&mut child);
        Some(Registry { child, addr, dir })
    }

    /// Returns a reference in it.
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.addr)
    }

    /// Returns a reference in it that does not look like one on this machine. Linux connects 0.0.0.0 to itself.
    pub fn distant_reference(&self, rest: &str) -> String {
        format!("oci://{ANY}:{}/{rest}", self.addr.port())
    }

    /// Returns the file with the certificate to trust.
    pub fn roots(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo xtask test` has found or unpacked it, or wherever the PATH has it.
fn program() -> PathBuf {
    let dir = std::env::var_os("MESH_TEST_REGISTRY_DIR").map(PathBuf::from).unwrap_or_default();
    dir.join("docker-registry")
}

fn config(dir: &Path, door: Door) -> String {
    let at = dir.display();
    std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let auth = match door {
        Door::Open | Door::Tls => String::new(),
        Door::Password => format!("auth: {{ htpasswd: {{ realm: test, path: \"{at}/htpasswd\" }} }}\n"),
    };
    let tls = match door {
        Door::Open | Door::Password => String::new(),
        Door::Tls => {
            let made = rcgen::generate_simple_self_signed([ANY.to_owned()]).unwrap();
            std::fs::write(dir.join("cert.pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
            std::fs::write(dir.join("key.pem"), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
                .unwrap();
            format!(", tls: {{ certificate: \"{at}/cert.pem\", key: \"{at}/key.pem\" }}")
        }
    };
    format!(
        "version: 0.1\nlog: {{ level: info, formatter: json }}\nstorage: {{ filesystem: {{ rootdirectory: \"{at}/data\" }} }}\n\
         http: {{ addr: \"127.0.0.1:0\"{tls} }}\n{auth}"
    )
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Reads the log until it says where it listens; what comes later is read and dropped, so that it never
/// blocks.
fn listening(child: &mut Child) -> SocketAddr {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (told, addr) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let found = line.split("listening on ").nth(1).and_then(|rest| rest.split(['"', ',']).next());
            if let Some(addr) = found.and_then(|text| text.parse::<SocketAddr>().ok()) {
                let _ = told.send(addr);
            }
        }
    });
    addr.recv_timeout(DEADLINE).expect("the registry says where it listens")
}

/// A request, as it came; names of headers are in lower case.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// An answer. `announced` is the length that it claims, when that is not the truth.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub announced: Option<usize>,
    /// Sends the body again and again, until nobody listens any more.
    pub is_endless: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A registry that answers whatever a test wants, and remembers what it was asked.
pub struct Fake {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Listens until the test ends.
    pub fn new(script: impl FnMut(&Asked) -> Answer + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (seen, script) = (asked.clone(), Arc::new(Mutex::new(script)));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, script) = (seen.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &seen, |asked| (script.lock().unwrap())(asked)));
            }
        });
        Fake { addr, asked }
    }

    /// Returns what it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns how often a path was asked for that contains this.
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path.contains(part)).count()
    }
}

/// One request a connection.
fn serve(stream: TcpStream, seen: &Mutex<Vec<Asked>>, script: impl FnOnce(&Asked) -> Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers = read_headers(&mut reader)?;
    let mut body = vec![0; headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { method, path, headers, body };
    seen.lock().unwrap().push(asked.clone());
    let answer = script(&asked);
    send(stream, &asked, &answer)
}

fn send(mut stream: TcpStream, asked: &Asked, answer: &Answer) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer.is_endless {
        head += &format!("Content-Length: {}\r\n", answer.announced.unwrap_or(answer.body.len()));
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    stream.write_all(&answer.body).ok()?;
    if !answer.is_endless {
        return Some(());
    }
    loop {
        stream.write_all(&answer.body).ok()?;
    }
}

/// Asks over plain HTTP, once; returns status, headers and body.
pub fn http(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = read_headers(&mut reader).unwrap().into_iter().collect();
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    Answer { status, headers, body, ..Answer::default() }
}

fn read_headers(reader: &mut impl BufRead) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}
