//! The memory that `configure` leaves.

use std::hint::black_box;

/// What is to be free in one place, and the largest gap that is closed.
const ROOM: usize = 64 << 10;
/// The smallest gap that an allocator has.
const GAP_MIN: usize = 8;
/// What is given for it at most.
const GIVEN_MAX: usize = 512 << 10;

/// Takes the free pieces of memory that lie between what is in use, so that what is needed from now on lies together.
///
/// A host makes instances as copies of one that was configured, and they share the pages that they do not write to.
/// Building lists leaves gaps all over the memory; the next few allocations would go to those that fit best, each on
/// a page of its own, and each instance would pay for all of these pages.
///
/// `memory` is the size of the memory: what is free at its end is in one place already.
pub fn close_gaps(memory: impl Fn() -> usize) {
    let mut given = 0;
    // Given back at the end, so that an exchange does not have to ask for memory.
    let room = loop {
        let room = black_box(Vec::<u8>::with_capacity(ROOM));
        if memory().saturating_sub(room.as_ptr().addr()) < 2 * ROOM {
            break room;
        }
        given += ROOM;
        if given >= GIVEN_MAX {
            return;
        }
        std::mem::forget(room);
    };
    let mut size = ROOM;
    while size >= GAP_MIN && given < GIVEN_MAX {
        let piece = black_box(Vec::<u8>::with_capacity(size));
        if piece.as_ptr().addr() < room.as_ptr().addr() {
            given += size;
            std::mem::forget(piece);
        } else {
            size /= 2;
        }
    }
}
