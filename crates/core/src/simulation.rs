//! A seam of the simulation (`crates/keyback/tests/simulation`): randomness that can be had again. Behind a feature that
//! no shipped binary has, and idle until a thread asks for it.

use std::cell::Cell;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on [`crate::ids::random`] gives the numbers of this seed, on this thread. They are secret to nobody.
pub fn seed(seed: u64) {
    SEED.set(Some(seed));
}

/// SplitMix64. `false`: this thread is not simulated.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    let Some(mut state) = SEED.get() else { return false };
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
    }
    SEED.set(Some(state));
    true
}
