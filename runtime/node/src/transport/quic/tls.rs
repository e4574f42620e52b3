//! The node's key as the identity of a TLS 1.3 session: a certificate that says nothing but the key, and
//! verifiers that look for nothing else. Trusts no authority, no name and no date.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signer as _, VerifyingKey};
use mesh_proto::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureAlgorithm,
    SignatureScheme,
};

use crate::keys::NodeKey;

/// Protocol name in the handshake; peers without it are refused.
pub(crate) const ALPN: &[u8] = b"meshwork/1";
/// Name that clients must give to quinn; it is not sent, and nobody looks at it.
pub(crate) const SERVER_NAME: &str = "mesh";
/// Largest certificate that is looked at, in bytes; ours has about 330.
const MAX_CERTIFICATE: usize = 1024;
/// DER of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key and its certificate, ready for both sides of a handshake.
pub(crate) struct Identity {
    id: NodeId,
    pub(super) certified: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    pub(crate) fn new(key: &NodeKey) -> Identity {
        let certified = CertifiedKey::new(vec![certificate(key)], Arc::new(TlsKey { key: key.clone() }));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Identity { id: key.id(), certified: Arc::new(SingleCertAndKey::from(certified)), provider }
    }

    /// Returns the accepting side's settings: any node may connect, after proving its key.
    pub(crate) fn server(&self) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has TLS 1.3")
            .with_client_cert_verifier(Arc::new(self.check(Seen::default(), None)))
            .with_cert_resolver(self.certified.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Every handshake proves the key anew.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config
    }

    /// Returns the dialling side's settings, and where the key that was found will stand, even if it was
    /// not the expected one.
    pub(crate) fn client(&self, expect: Option<NodeId>) -> (rustls::ClientConfig, Seen) {
        let seen = Seen::default();
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.check(seen.clone(), expect)))
            .with_client_cert_resolver(self.certified.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        (config, seen)
    }

    /// Returns whose key this is.
    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    fn check(&self, seen: Seen, expect: Option<NodeId>) -> Check {
        Check { own: self.id, expect, seen, provider: Arc::clone(&self.provider) }
    }
}

/// Makes the certificate that says `key` and nothing else; the same one every time.
pub(super) fn certificate(key: &NodeKey) -> CertificateDer<'static> {
    let made = rcgen::CertificateParams::default().self_signed(&TlsKey { key: key.clone() });
    made.expect("the default parameters make a certificate, and Ed25519 signs anything").der().clone()
}

/// The key that a handshake met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<OnceLock<NodeId>>);

impl Seen {
    pub(crate) fn key(&self) -> Option<NodeId> {
        self.0.get().copied()
    }
}

/// Returns the proved key of a session's peer.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(chain.first()?).ok()
}

/// Returns the key of a certificate, which must be of the plain form that a node makes.
///
/// The certificate's own signature is not looked at: the handshake's signature proves the key, and one
/// check for a stranger is enough.
fn key_of(certificate: &CertificateDer<'_>) -> Result<NodeId, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    if certificate.len() > MAX_CERTIFICATE {
        return Err(bad());
    }
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key: [u8; 32] = spki.strip_prefix(&SPKI_PREFIX).and_then(|k| k.try_into().ok()).ok_or_else(bad)?;
    // A key of small order would let anybody sign in its name.
    match VerifyingKey::from_bytes(&key) {
        Ok(point) if !point.is_weak() => Ok(NodeId(key)),
        _ => Err(bad()),
    }
}

/// Looks for a key in the peer's certificate and compares it with the expected one.
#[derive(Debug)]
struct Check {
    own: NodeId,
    expect: Option<NodeId>,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl Check {
    fn certificate(&self, end: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !chain.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let found = key_of(end)?;
        // One handshake asks once; a second answer would be the same.
        let _ = self.seen.0.set(found);
        if found == self.own || self.expect.is_some_and(|expected| expected != found) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
        }
        verify_tls13_signature(message, end, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.certificate(end, chain).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, end, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Check {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.certificate(end, chain).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, end, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The node's key as rcgen and rustls want it, so that the seed is copied into neither.
#[derive(Clone)]
pub(super) struct TlsKey {
    pub(super) key: NodeKey,
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl rcgen::PublicKeyData for TlsKey {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.signing().sign(message).to_bytes().to_vec())
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.key.signing().sign(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_certificate_says_its_key() {
        let key = NodeKey::from_seed(&[3; 32]);

        assert_eq!(key_of(&certificate(&key)), Ok(key.id()));
        assert_eq!(certificate(&key), certificate(&key), "the same key makes the same certificate");
    }

    #[test]
    fn a_certificate_of_another_form_has_no_key() {
        let key = NodeKey::from_seed(&[3; 32]);
        let good = certificate(&key);
        let ecdsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let foreign = rcgen::CertificateParams::default().self_signed(&ecdsa).unwrap();
        // The neutral element: a point of order one, for which a signature of zeros is "valid".
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let at = good.windows(32).position(|w| w == key.id().0).expect("the key stands in the certificate");
        let mut weak = good.to_vec();
        weak[at..at + 32].copy_from_slice(&neutral);

        for (what, der) in [
            ("another algorithm", foreign.der().to_vec()),
            ("a weak key", weak),
            ("nothing", vec![]),
            ("half of it", good[..good.len() / 2].to_vec()),
            ("too much", [&good[..], &[0; MAX_CERTIFICATE]].concat()),
        ] {
            assert!(key_of(&CertificateDer::from(der)).is_err(), "{what} was accepted");
        }
    }

    #[test]
    fn a_broken_certificate_is_an_error_and_never_a_panic() {
        let good = certificate(&NodeKey::from_seed(&[3; 32])).to_vec();
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let _ = key_of(&CertificateDer::from(bytes));
        }
    }
}
