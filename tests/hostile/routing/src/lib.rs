//! A routing policy that misbehaves as its setting `mode` says, from its `after`-th batch on. Without a mode it
//! answers row 0 and counts messages in its state.

mod policy;
