//! Who vouches for what is installed, and whether that is enough to run it here.
//!
//! Signatures are verified once, when bytes come in or the store is read; what they are worth is asked anew at
//! every binding, because keys are revoked and statements end.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_plugin_host::package::{self, MAX_STATEMENT, MAX_STATEMENTS};
use mesh_plugin_host::sign::{PublicKey, Signed, VerifyError};
use mesh_plugin_host::trust::{Distrust, Entry, Standing, TrustList};
use mesh_plugin_host::{
    Engine, Grants, Inspection, Kind, Loaded, Package, PackageError, Revision, inspect, load,
};

use super::granted::{asked, names, union, without};
use super::{Installed, Plugins};
use crate::api::{ApiError, SignerRow, SignerState, Time, code};
use crate::driver::load_failed;
use crate::store::{Store, StoreError, Table, Write};

/// Bytes of the list of keys, and of the versions, that are read at the start.
const LIST_BYTES: usize = 4 * 1024 * 1024;
/// Names whose highest version is remembered.
const MAX_VERSIONS: usize = 4096;

/// What a node asks of those who sign plugins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pub(crate) list: TrustList,
    /// Nothing unsigned runs, but for what is built in.
    pub(crate) is_signature_required: bool,
    /// The highest version of a plugin that was ever bound, by name.
    versions: BTreeMap<String, String>,
}

/// A component that came in, was verified and compiled: these bytes and no others.
pub(crate) struct Candidate {
    pub(crate) loaded: Loaded,
    pub(crate) component: Bytes,
    pub(crate) signatures: Vec<Signed>,
    /// What it was to be given; it was loaded with that, and what it had.
    pub(crate) grants: Grants,
}

/// A component or package, taken apart and verified, and not compiled yet.
pub(crate) struct Opened {
    pub(crate) inspection: Inspection,
    pub(crate) component: Bytes,
    pub(crate) signatures: Vec<Signed>,
}

/// Takes a file apart. The component is a view of the same bytes that were verified.
///
/// # Errors
/// A damaged package, another manifest outside than inside, no component. Signatures are not looked at.
pub(crate) fn unpack(bytes: &Bytes) -> Result<Opened, ApiError> {
    let (component, signatures, package) = if package::is_package(bytes) {
        let package = Package::decode(bytes).map_err(|error| package_failed(&error))?;
        (bytes.slice_ref(package.component), package.signatures.clone(), Some(package))
    } else {
        (bytes.clone(), Vec::new(), None)
    };
    let inspection = inspect(&component).map_err(|error| load_failed(&error))?;
    if let Some(package) = package {
        package.check_manifest(&inspection).map_err(|error| package_failed(&error))?;
    }
    Ok(Opened { inspection, component, signatures })
}

/// Takes a file apart and verifies every signature in it.
pub(crate) fn open(bytes: &Bytes) -> Result<Opened, ApiError> {
    let opened = unpack(bytes)?;
    for signed in &opened.signatures {
        signed.verify(&opened.inspection).map_err(|error| verify_failed(&error))?;
    }
    Ok(opened)
}

impl Trust {
    pub(super) fn restore(store: &Store, is_signature_required: bool) -> Result<Trust, StoreError> {
        let entry = |(key, value): (Vec<u8>, Bytes)| {
            let key = PublicKey::from_bytes(key.try_into().ok()?).ok()?;
            Some((key, serde_json::from_slice::<Entry>(&value).ok()?))
        };
        let version = |(name, version): (Vec<u8>, Bytes)| {
            Some((String::from_utf8(name).ok()?, String::from_utf8(version.to_vec()).ok()?))
        };
        let keys = store.load(Table::Trust, LIST_BYTES)?.rows;
        let versions = store.load(Table::Versions, LIST_BYTES)?.rows;
        Ok(Trust {
            list: TrustList::restore(keys.into_iter().filter_map(entry)),
            is_signature_required,
            versions: versions.into_iter().filter_map(version).collect(),
        })
    }

    /// Says whether something of this name and kind may be installed and bound at this time; without a time,
    /// whether it may stay.
    pub(crate) fn judge(
        &self,
        signatures: &[Signed],
        revision: &Revision,
        kind: Kind,
        now_ms: Option<u64>,
    ) -> Result<(), ApiError> {
        let standing = self.list.judge(signatures, &revision.name, kind, now_ms);
        match standing.map_err(|distrust| distrusted(&distrust, revision, kind))? {
            Standing::Unsigned if self.is_signature_required => Err(ApiError::new(
                &code::NOT_SIGNED,
                format!("{revision} is not signed, and this node asks for it"),
            )
            .help("meshctl plugin sign FILE    as its publisher, whose key this node then has to trust")),
            Standing::Unsigned | Standing::Trusted(_) => Ok(()),
        }
    }

    /// Verifies, judges and compiles; what is refused is never compiled. Takes what is to be granted, and what the
    /// revisions have that are here already: it is not asked for again.
    pub(crate) fn candidate(
        &self,
        engine: &Engine,
        bytes: &Bytes,
        (grants, given): (Grants, &BTreeMap<[u8; 32], Grants>),
        now_ms: u64,
    ) -> Result<Candidate, ApiError> {
        let Opened { inspection, component, signatures } = open(bytes)?;
        let surplus = without(grants, asked(&inspection));
        if surplus != Grants::NONE {
            let message = format!("{} does not ask for {}", inspection.revision(), names(surplus).join(", "));
            let asks = Some(names(asked(&inspection)).join(", ")).filter(|names| !names.is_empty());
            return Err(ApiError::new(&code::BAD_VALUE, message)
                .fact("asks for", asks.unwrap_or_else(|| "nothing".to_owned()))
                .help("leave out the --grant that it does not ask for"));
        }
        if let Some(kind) = inspection.kind {
            self.judge(&signatures, &inspection.revision(), kind, Some(now_ms))?;
        }
        let had = given.get(&inspection.digest).copied().unwrap_or(Grants::NONE);
        let loaded = load(engine, &component, union(grants, had)).map_err(|error| load_failed(&error))?;
        Ok(Candidate { loaded, component, signatures, grants })
    }

    /// Refuses what is below the highest version that was ever bound under this name.
    fn check_version(&self, revision: &Revision) -> Result<(), ApiError> {
        match self.versions.get(&revision.name) {
            Some(highest) if mesh_plugin_host::manifest::is_newer(highest, &revision.version) => {
                let message = format!("{} {highest} was in use before {revision}", revision.name);
                Err(ApiError::new(&code::DOWNGRADE, message)
                    .help("add --allow-downgrade if the older one is what you want")
                    .help("meshctl plugin rollback SLOT    to return to the revision before"))
            }
            _ => Ok(()),
        }
    }

    /// Remembers a version that is bound now, if it is the highest; returns the write that keeps it.
    fn note_version(&mut self, revision: &Revision) -> Option<Write> {
        let is_new = match self.versions.get(&revision.name) {
            Some(highest) => mesh_plugin_host::manifest::is_newer(&revision.version, highest),
            None => self.versions.len() < MAX_VERSIONS,
        };
        is_new.then(|| {
            self.versions.insert(revision.name.clone(), revision.version.clone());
            let (key, value) = (revision.name.clone().into_bytes(), revision.version.clone().into());
            Write::Put { table: Table::Versions, key, value }
        })
    }

    /// Returns the write that keeps what the list has of a key.
    pub(crate) fn kept(&self, key: &PublicKey) -> Write {
        let key_bytes = key.as_bytes().to_vec();
        match self.list.entry(key) {
            Some(entry) => {
                let value = serde_json::to_vec(entry).expect("an entry has string keys only");
                Write::Put { table: Table::Trust, key: key_bytes, value: value.into() }
            }
            None => Write::Delete { table: Table::Trust, key: key_bytes },
        }
    }

    /// Returns who vouches for a plugin, and what that is worth here.
    pub(crate) fn signers(
        &self,
        signatures: &[Signed],
        name: &str,
        kind: Kind,
        now_ms: u64,
    ) -> Vec<SignerRow> {
        let row = |signed: &Signed| {
            let alone = std::slice::from_ref(signed);
            match self.list.judge(alone, name, kind, Some(now_ms)) {
                Ok(_) => signer_row(signed, SignerState::Trusted, None),
                Err(miss) => {
                    signer_row(signed, SignerState::Untrusted, Some(format!("{}: {miss}", miss.code())))
                }
            }
        };
        signatures.iter().map(row).collect()
    }
}

impl Plugins {
    /// Says whether an installed revision may be bound now.
    pub(crate) fn check_binding(
        &self,
        installed: &Installed,
        now_ms: u64,
        allow_downgrade: bool,
    ) -> Result<(), ApiError> {
        if installed.is_built_in {
            return Ok(());
        }
        self.trust.judge(&installed.signatures, &installed.revision, installed.kind, Some(now_ms))?;
        match allow_downgrade {
            true => Ok(()),
            false => {
                let checked = self.trust.check_version(&installed.revision);
                checked.map_err(|error| error.filled("SLOT", installed.kind.slot()))
            }
        }
    }

    /// Says whether what was bound before the node ended may be bound again.
    pub(super) fn check_stay(&self, installed: &Installed) -> Result<(), ApiError> {
        if installed.is_built_in {
            return Ok(());
        }
        self.trust.judge(&installed.signatures, &installed.revision, installed.kind, None)
    }

    /// Remembers that a revision is bound; built-in ones come and go with the program.
    pub(crate) fn note_bound(&mut self, revision: &Revision) -> Option<Write> {
        let installed = self.installed.get(&revision.digest)?;
        if installed.is_built_in { None } else { self.trust.note_version(revision) }
    }

    /// Returns the installed revisions that somebody revoked has signed.
    pub(crate) fn revoked(&self) -> Vec<[u8; 32]> {
        let is_revoked = |i: &&Installed| self.trust.list.check_revoked(&i.signatures).is_err();
        self.installed.values().filter(is_revoked).map(|i| i.revision.digest).collect()
    }

    /// Says whether this key has signed an installed revision.
    pub(crate) fn has_signed(&self, key: &PublicKey, digest: &[u8; 32]) -> bool {
        let signatures = self.installed.get(digest).map_or(&[][..], |installed| &installed.signatures);
        signatures.iter().any(|signed| signed.statement().signer == *key)
    }

    /// Returns who is known to have signed a component, also one that is not installed any more.
    pub(crate) fn known_signatures(
        &self,
        store: &Store,
        component: &Inspection,
    ) -> Result<Vec<Signed>, StoreError> {
        match self.installed.get(&component.digest) {
            Some(installed) => Ok(installed.signatures.clone()),
            None => stored_signatures(store, component),
        }
    }

    /// Adds statements to those of an installed revision, and returns the write that keeps them. Of one key, the
    /// later counts. What is built in stands and falls with the program, whoever signs it.
    pub(crate) fn add_signatures(&mut self, digest: &[u8; 32], new: &[Signed]) -> Option<Write> {
        let installed = self.installed.get_mut(digest).filter(|installed| !installed.is_built_in)?;
        let merged = merge(&self.trust.list, &installed.signatures, new);
        if merged == installed.signatures {
            return None;
        }
        let value = pack_signatures(&merged);
        installed.signatures = merged;
        Some(Write::Put { table: Table::Signatures, key: digest.to_vec(), value })
    }
}

/// Returns both, of one key the one that was signed later. Where there is no room for all, the keys of the list come
/// first, trusted or revoked: strangers crowd out neither. Then what was known stays, so that nobody crowds out a key
/// that is revoked later.
pub(crate) fn merge(list: &TrustList, old: &[Signed], new: &[Signed]) -> Vec<Signed> {
    let mut by_key: BTreeMap<PublicKey, (bool, &Signed)> = BTreeMap::new();
    let new = new.iter().map(|signed| (true, signed));
    for (is_new, signed) in old.iter().map(|signed| (false, signed)).chain(new) {
        let (first_new, best) = by_key.entry(signed.statement().signer).or_insert((is_new, signed));
        if signed.statement().signed_ms >= best.statement().signed_ms {
            *best = signed;
        }
        *first_new &= is_new;
    }
    let mut merged: Vec<(bool, bool, &Signed)> = by_key
        .into_iter()
        .map(|(key, (is_new, signed))| (list.entry(&key).is_none(), is_new, signed))
        .collect();
    merged.sort_by_key(|(is_stranger, is_new, _)| (*is_stranger, *is_new));
    merged.truncate(MAX_STATEMENTS);
    merged.sort_by_key(|(.., signed)| signed.statement().signer);
    merged.into_iter().map(|(.., signed)| signed.clone()).collect()
}

/// Reads what the store keeps of a revision, and drops what does not hold.
pub(super) fn stored_signatures(store: &Store, inspection: &Inspection) -> Result<Vec<Signed>, StoreError> {
    let value = store.get(Table::Signatures, &inspection.digest)?.unwrap_or_default();
    let mut signatures = unpack_signatures(&value);
    signatures.retain(|signed| {
        let verified = signed.verify(inspection);
        if let Err(error) = &verified {
            tracing::error!(plugin = %inspection.revision(), %error, "a stored signature does not hold");
        }
        verified.is_ok()
    });
    Ok(signatures)
}

/// Each as length (4, little-endian), statement, signature.
fn pack_signatures(signatures: &[Signed]) -> Bytes {
    let mut out = Vec::new();
    for signed in signatures {
        let statement = signed.statement().encode();
        out.extend((statement.len() as u32).to_le_bytes());
        out.extend(statement);
        out.extend(signed.signature());
    }
    out.into()
}

fn unpack_signatures(value: &[u8]) -> Vec<Signed> {
    let mut rest = value;
    let mut next = || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= MAX_STATEMENT)?;
        let (statement, after) = after.split_at_checked(len)?;
        let (signature, after) = after.split_at_checked(mesh_plugin_host::sign::SIGNATURE_LEN)?;
        rest = after;
        Signed::decode(statement, signature).ok()
    };
    std::iter::from_fn(&mut next).take(MAX_STATEMENTS).collect()
}

/// Returns a signer as users see it.
pub(crate) fn signer_row(signed: &Signed, state: SignerState, note: Option<String>) -> SignerRow {
    let statement = signed.statement();
    SignerRow {
        key: statement.signer.to_string(),
        state,
        signed_at: Time(statement.signed_ms),
        expires_at: statement.expires_ms.map(Time),
        note,
    }
}

pub(crate) fn package_failed(error: &PackageError) -> ApiError {
    let code = code::find(error.code()).unwrap_or(&code::BAD_PACKAGE);
    ApiError::new(code, format!("the package is refused: {error}")).help("fetch it again from its publisher")
}

/// Returns the error of a signature that does not hold.
pub(crate) fn verify_failed(error: &VerifyError) -> ApiError {
    let (code, key) = match error {
        VerifyError::Signature { key } => (&code::BAD_SIGNATURE, key),
        VerifyError::Differs { key, .. } => (&code::NOT_AS_SIGNED, key),
    };
    ApiError::new(code, error).fact("key", key).help("fetch it again from its publisher")
}

fn distrusted(distrust: &Distrust, revision: &Revision, kind: Kind) -> ApiError {
    let key = distrust.key();
    let code = code::find(distrust.code()).unwrap_or(&code::UNTRUSTED_SIGNER);
    let error = ApiError::new(code, format!("{revision} is refused: {distrust}")).fact("key", key);
    let add = format!("meshctl plugin trust add {key} --for '{}'", revision.name);
    match distrust {
        Distrust::Unknown { .. } | Distrust::OtherName { .. } => error.help(add),
        Distrust::OtherSlot { .. } => error.help(format!("{add} --slot {}", kind.slot())),
        Distrust::Expired { at_ms, .. } => {
            error.fact("expired", Time(*at_ms)).help("get a newer package from its publisher")
        }
        Distrust::Revoked { .. } => {
            error.help("ask its publisher for a package that is signed with a new key")
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::builtin;
    use mesh_plugin_host::sign::SecretKey;

    use super::*;

    fn signed(seed: u8, now_ms: u64) -> Signed {
        let component = inspect(builtin::LATENCY).expect("a built-in is a component");
        Signed::new(&SecretKey::from_seed(&[seed; 32]), &component, now_ms, None).expect("it has a name")
    }

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32]).public()
    }

    #[test]
    fn strangers_crowd_out_no_key_of_the_list() {
        let strangers: Vec<Signed> = (1..=8).map(|seed| signed(seed, 9)).collect();
        let mut list = TrustList::default();
        list.add(key(100), vec!["*".parse().expect("a pattern")], Vec::new(), 0).expect("there is room");
        list.revoke(key(101), "", 0).expect("there is room");
        for (old, new) in
            [(&strangers[..], [signed(100, 1), signed(101, 1)]), (&[], [signed(100, 1), signed(101, 1)])]
        {
            let new: Vec<Signed> = strangers.iter().cloned().chain(new).collect();

            let merged = merge(&list, old, &new);

            assert_eq!(merged.len(), MAX_STATEMENTS);
            for seed in [100, 101] {
                assert!(merged.iter().any(|signed| signed.statement().signer == key(seed)), "{seed}");
            }
            assert!(merged.is_sorted_by_key(|signed| signed.statement().signer), "as a package has them");
        }
    }

    #[test]
    fn a_stranger_that_was_known_stays_and_of_one_key_the_later_counts() {
        let known: Vec<Signed> = (1..=8).map(|seed| signed(seed, 5)).collect();
        let new = [signed(9, 9), signed(1, 6), signed(2, 4)];

        let merged = merge(&TrustList::default(), &known, &new);

        let time = |seed| {
            let found = merged.iter().find(|signed| signed.statement().signer == key(seed));
            found.map(|signed| signed.statement().signed_ms)
        };
        assert_eq!((time(1), time(2), time(9)), (Some(6), Some(5), None));
    }
}
