//! The memory that `configure` leaves.

use std::hint::black_box;

/// What is to be free in one place, and so the largest gap that is left.
const ROOM: usize = 64 << 10;
/// The smallest gap that an allocator has.
const GAP_MIN: usize = 8;
/// What an allocator puts in front of a piece.
const HEAD: usize = 16;
/// What is given for it at most.
const GIVEN_MAX: usize = 512 << 10;

/// Takes the free pieces of memory that lie between what is in use, so that what is needed from now on lies together.
///
/// A host makes instances as copies of one that was configured, and they share the pages that they do not write to.
/// Building lists leaves gaps all over the memory; the next few allocations would go to those that fit best, each on
/// a page of its own, and each instance would pay for all of these pages.
///
/// `memory` is the size of the memory. Where too much of it is free before its end, that is used as it is.
pub fn close_gaps(memory: impl Fn() -> usize) {
    let mut large = Vec::with_capacity(GIVEN_MAX / ROOM);
    // Given back at the end, so that an exchange does not have to ask for memory.
    let room = loop {
        let room = black_box(Vec::<u8>::with_capacity(ROOM));
        if memory().saturating_sub(room.as_ptr().addr()) < 2 * ROOM {
            break room;
        }
        large.push(room);
        if large.len() == large.capacity() {
            return;
        }
    };
    let (mut size, mut given) = (ROOM / 2, large.len() * ROOM);
    std::mem::forget(large);
    while size >= GAP_MIN && given < GIVEN_MAX {
        let piece = black_box(Vec::<u8>::with_capacity(size));
        if piece.as_ptr().addr() < room.as_ptr().addr() {
            given += size + HEAD;
            std::mem::forget(piece);
        } else {
            size /= 2;
        }
    }
}
