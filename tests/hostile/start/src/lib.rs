//! A routing policy that never ends its start function.

#[path = "../../routing/src/policy.rs"]
mod policy;

/// Called once when the component is instantiated.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    policy::forever();
}
