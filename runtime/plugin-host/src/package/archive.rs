//! `.meshpkg`: a component, its manifest beside it and the statements of those who vouch for it, in one file.
//!
//! One layout and one encoding of each package: what decodes encodes to the same bytes. Nothing is compressed
//! and nothing has a path, so a package cannot unpack to more than it is, or to another place. Lengths are
//! little-endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 7 | `meshpkg` |
//! | 7 | 1 | version of the layout, 1 |
//! | 8 | 4 | length of the manifest, 1 to 65,536 |
//! | 12 | 4 | length of the component, 1 to 33,554,432 |
//! | 16 | 4 | number of statements, 0 to 8 |
//! | 20 | | manifest: the text that the component carries in its section `meshwork:plugin` |
//! | | | component |
//! | | | each statement: length (4, 1 to 4,096), statement, Ed25519 signature (64); ascending by signer |

use crate::inspect::Inspection;
use crate::limits;
use crate::manifest;
use crate::sign::{SIGNATURE_LEN, Signed, StatementError};

const MAGIC: &[u8; 7] = b"meshpkg";
const VERSION: u8 = 1;
const HEAD: usize = 20;
/// Statements of one package.
pub const MAX_STATEMENTS: usize = 8;
/// Bytes of one statement.
pub const MAX_STATEMENT: usize = 4 << 10;

/// A package, as a view of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package<'a> {
    /// The manifest outside the component: readable without a WebAssembly parser.
    pub manifest: &'a [u8],
    /// The component.
    pub component: &'a [u8],
    /// Who vouches for it, ascending by key; none of them is verified yet.
    pub signatures: Vec<Signed>,
}

/// Why bytes are no package that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// It does not start as one.
    #[error("it is no package")]
    NotAPackage,
    /// It has another layout.
    #[error("its layout has version {found}, this host reads {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// A part is empty or larger than it may be.
    #[error("its {part} has {len} bytes, 1 to {max} are possible")]
    Length {
        /// Which.
        part: &'static str,
        /// What it claims to have.
        len: usize,
        /// What it may have.
        max: usize,
    },
    /// It claims more statements than a package has.
    #[error("it has {count} statements, {MAX_STATEMENTS} are the limit")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// It ends before its end, or goes on after it.
    #[error("it has {len} bytes, and its parts {wanted}")]
    Size {
        /// Its bytes.
        len: usize,
        /// What it should have; a lower bound where it ends early.
        wanted: usize,
    },
    /// A statement cannot be read.
    #[error("statement {number}: {reason}")]
    Statement {
        /// From 1.
        number: usize,
        /// Why not.
        reason: StatementError,
    },
    /// Its statements are not in order, or one key has made two of them.
    #[error("its statements are not ascending by key")]
    Order,
    /// The manifest outside is not the one inside the component.
    #[error("its outer manifest is not the one in the component")]
    ManifestDiffers,
}

impl PackageError {
    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            PackageError::ManifestDiffers => "MESH-P126",
            _ => "MESH-P127",
        }
    }
}

/// Says whether bytes claim to be a package, of whatever version.
pub fn is_package(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Package<'a> {
    /// Reads a package. Checks its form only: neither the component nor a signature is looked at.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn decode(bytes: &'a [u8]) -> Result<Package<'a>, PackageError> {
        if !is_package(bytes) {
            return Err(PackageError::NotAPackage);
        }
        let mut rest = Rest { bytes, at: MAGIC.len() };
        match rest.take(1)? {
            [VERSION] => {}
            other => return Err(PackageError::Version { found: other[0] }),
        }
        let manifest_len = rest.len("manifest", manifest::MAX_BYTES)?;
        let component_len = rest.len("component", limits::COMPONENT_BYTES)?;
        let count = rest.u32()?;
        if count > MAX_STATEMENTS {
            return Err(PackageError::TooMany { count });
        }
        let manifest = rest.take(manifest_len)?;
        let component = rest.take(component_len)?;
        let signatures = (1..=count).map(|number| rest.signed(number)).collect::<Result<Vec<_>, _>>()?;
        if rest.at != bytes.len() {
            return Err(PackageError::Size { len: bytes.len(), wanted: rest.at });
        }
        if !is_ascending(&signatures) {
            return Err(PackageError::Order);
        }
        Ok(Package { manifest, component, signatures })
    }

    /// Writes the package; the statements are put in order.
    ///
    /// # Errors
    /// When a part is empty or too large, or one key has made two statements.
    pub fn encode(&self) -> Result<Vec<u8>, PackageError> {
        let mut signatures: Vec<&Signed> = self.signatures.iter().collect();
        signatures.sort_by_key(|signed| signed.statement().signer);
        if signatures.len() > MAX_STATEMENTS {
            return Err(PackageError::TooMany { count: signatures.len() });
        }
        if signatures.windows(2).any(|pair| pair[0].statement().signer == pair[1].statement().signer) {
            return Err(PackageError::Order);
        }
        let mut out = Vec::with_capacity(HEAD + self.manifest.len() + self.component.len() + 1024);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend(length("manifest", self.manifest.len(), manifest::MAX_BYTES)?);
        out.extend(length("component", self.component.len(), limits::COMPONENT_BYTES)?);
        out.extend((signatures.len() as u32).to_le_bytes());
        out.extend_from_slice(self.manifest);
        out.extend_from_slice(self.component);
        for signed in signatures {
            let statement = signed.statement().encode();
            out.extend(length("statement", statement.len(), MAX_STATEMENT)?);
            out.extend(statement);
            out.extend(signed.signature());
        }
        Ok(out)
    }

    /// Checks that the manifest outside is the one that the component carries.
    ///
    /// # Errors
    /// [`PackageError::ManifestDiffers`], also for a component without one.
    pub fn check_manifest(&self, inspection: &Inspection) -> Result<(), PackageError> {
        match &inspection.manifest_bytes {
            Some(inside) if inside == self.manifest => Ok(()),
            _ => Err(PackageError::ManifestDiffers),
        }
    }
}

fn is_ascending(signatures: &[Signed]) -> bool {
    signatures.windows(2).all(|pair| pair[0].statement().signer < pair[1].statement().signer)
}

fn length(part: &'static str, len: usize, max: usize) -> Result<[u8; 4], PackageError> {
    match u32::try_from(len) {
        Ok(short) if (1..=max).contains(&len) => Ok(short.to_le_bytes()),
        _ => Err(PackageError::Length { part, len, max }),
    }
}

/// What is left to read.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PackageError> {
        let wanted = self.at.saturating_add(len);
        let taken = self.bytes.get(self.at..wanted);
        let taken = taken.ok_or(PackageError::Size { len: self.bytes.len(), wanted })?;
        self.at = wanted;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<usize, PackageError> {
        let four = self.take(4)?;
        Ok(four.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    }

    fn len(&mut self, part: &'static str, max: usize) -> Result<usize, PackageError> {
        match self.u32()? {
            len if (1..=max).contains(&len) => Ok(len),
            len => Err(PackageError::Length { part, len, max }),
        }
    }

    fn signed(&mut self, number: usize) -> Result<Signed, PackageError> {
        let len = self.len("statement", MAX_STATEMENT)?;
        let statement = self.take(len)?;
        let signature = self.take(SIGNATURE_LEN)?;
        Signed::decode(statement, signature).map_err(|reason| PackageError::Statement { number, reason })
    }
}
