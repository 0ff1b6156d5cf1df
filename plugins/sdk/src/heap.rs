//! The memory that `configure` leaves.

use std::hint::black_box;
use std::sync::atomic::AtomicU8;

/// What is mapped at once, on most machines.
const PAGE: usize = 4 << 10;
/// The least that is worth to be kept of a page.
const ROOM_MIN: usize = 1 << 10;
/// What is to be free in one place before the end, and so the largest gap that is left.
const LAST: usize = 64 << 10;
/// The smallest gap that an allocator has.
const GAP_MIN: usize = 8;
/// What an allocator puts in front of a piece.
const HEAD: usize = 16;
/// What is given for it at most.
const GIVEN_MAX: usize = 512 << 10;

/// Takes no memory, but a place at the beginning of a page: as the first of the statics that are written to (a linker
/// puts these together, and the heap behind them), it has all of them begin with that page instead of across two.
#[derive(Debug)]
#[repr(align(4096))]
pub struct Page([AtomicU8; 0]);

impl Page {
    #[expect(clippy::new_without_default, reason = "used in a static only")]
    pub const fn new() -> Self {
        // What can be written to through a shared reference is not put among the constants.
        Self([])
    }
}

const _: () = assert!(align_of::<Page>() == PAGE);

/// Memory at the beginning of the heap, on the page of the statics, which is kept free while a plugin is configured.
/// What an exchange needs goes there first.
///
/// A host makes instances as copies of one that was configured, and they share the pages that they do not write to.
/// Each other one takes an instance microseconds and memory.
#[derive(Debug)]
pub struct Room(Vec<u8>);

impl Room {
    /// Takes it: while the rest of the heap is free.
    pub fn take() -> Self {
        let at = piece(GAP_MIN).as_ptr().addr();
        let rest = (PAGE - at % PAGE).saturating_sub(HEAD);
        Self(piece(if rest < ROOM_MIN { rest + PAGE } else { rest }))
    }

    /// Gives it back, and takes the free pieces that lie between what is in use: building lists leaves gaps all over
    /// the memory, and the next few allocations would go to those that fit best, each on a page of its own.
    ///
    /// `memory` is the size of the memory. Where too much of it is free before its end, that is used as it is.
    pub fn close_gaps(self, memory: impl Fn() -> usize) {
        let mut large = Vec::with_capacity(GIVEN_MAX / LAST);
        // Given back at the end, so that an exchange does not have to ask for memory.
        let last = loop {
            let last = piece(LAST);
            if memory().saturating_sub(last.as_ptr().addr()) < 2 * LAST {
                break last;
            }
            large.push(last);
            if large.len() == large.capacity() {
                return;
            }
        };
        let (mut size, mut given) = (LAST / 2, large.len() * LAST);
        std::mem::forget(large);
        while size >= GAP_MIN && given < GIVEN_MAX {
            let piece = piece(size);
            if piece.as_ptr().addr() < last.as_ptr().addr() {
                given += size + HEAD;
                std::mem::forget(piece);
            } else {
                size /= 2;
            }
        }
    }
}

/// Memory that the compiler does not know to be unused.
fn piece(size: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(size))
}
