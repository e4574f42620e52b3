//! What a handler has put aside; needs the grant `kv`. Writes are effects, so that they happen with the
//! others or not at all. Natively a test puts values there with [`preset`].

/// Returns the value that the last applied [`Effect::Put`](crate::handler::Effect::Put) of this key left.
pub fn get(key: &str) -> Option<Vec<u8>> {
    #[cfg(target_family = "wasm")]
    return crate::glue::kv_get(key);
    #[cfg(not(target_family = "wasm"))]
    native::VALUES.with_borrow(|values| values.get(key).cloned())
}

/// Puts a value where [`get`] finds it, for this thread; in native tests.
#[cfg(not(target_family = "wasm"))]
pub fn preset(key: &str, value: &[u8]) {
    native::VALUES.with_borrow_mut(|values| values.insert(key.to_owned(), value.to_vec()));
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        pub static VALUES: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    }
}
