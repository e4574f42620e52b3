//! A routing policy that asks for more memory than there is.

use std::cell::RefCell;
use std::hint::black_box;

#[path = "../../routing/src/policy.rs"]
mod policy;

thread_local! {
    static LARGE: RefCell<[u8; 20 << 20]> = const { RefCell::new([0; 20 << 20]) };
}

/// Called once when the component is instantiated; without it the memory would not be asked for.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    LARGE.with_borrow_mut(|large| {
        black_box(&mut large[0]);
    });
}
