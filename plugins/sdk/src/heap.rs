//! Where a plugin's memory is written to, and where it is read: on as few pages as there can be.
//!
//! A host makes instances as copies of one that was configured, and they share the pages that they do not write to. Each
//! other one takes an instance microseconds and memory, and to map shared ones takes time too.

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
/// The largest memory in which tables are moved: larger ones have many windows anyhow, and moving takes memory.
#[cfg(target_arch = "wasm32")]
const MOVED_MAX: usize = 4 << 20;
/// How many free pieces are taken for it at most: all of the largest in such a memory, and some hundred smaller ones.
#[cfg(target_arch = "wasm32")]
const GAPS_MAX: usize = 256;

/// Has the statics that begin as zeroes (`.bss`: the allocator's are among them) begin a page, and the heap behind them,
/// instead of lying across two. Where a plugin has such statics of its own, they may be on a page before.
#[derive(Debug)]
#[repr(align(4096))]
pub struct Page([AtomicU8; 0]);

impl Page {
    /// For a static: what can be written to through a shared reference is not put among the constants.
    #[expect(clippy::new_without_default, reason = "used in a static only")]
    pub const fn new() -> Self {
        Self([])
    }
}

const _: () = assert!(align_of::<Page>() == PAGE);

/// Configures a plugin, and leaves its memory so that what an exchange needs lies together.
///
/// The host has put the configuration where the heap begins, on the page of the statics: that page is free again
/// behind all of this. `memory` is the size of the memory.
pub fn configure(
    config_json: String,
    memory: impl Fn() -> usize,
    configure: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    let rest = rest_of_page(config_json.as_ptr().addr());
    // A short configuration leaves some of the page.
    let behind = piece(rest.saturating_sub(config_json.capacity() + HEAD));
    configure(&config_json)?;
    let mut room = config_json.into_bytes();
    room.truncate(rest);
    room.shrink_to_fit();
    close_gaps(memory);
    // Only now, or they would be closed too.
    drop((black_box(room), behind));
    Ok(())
}

/// What can be allocated at `at` without leaving its page; of the next page too, where that is next to nothing.
fn rest_of_page(at: usize) -> usize {
    let rest = (PAGE - at % PAGE).saturating_sub(HEAD);
    if rest < ROOM_MIN { rest + PAGE } else { rest }
}

/// Takes the free pieces that lie between what is in use: building lists leaves gaps all over the memory, and the next
/// few allocations would go to those that fit best, each on a page of its own.
///
/// Where too much is free before the end, that is used as it is.
fn close_gaps(memory: impl Fn() -> usize) {
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
        let gap = piece(size);
        if gap.as_ptr().addr() < last.as_ptr().addr() {
            given += size + HEAD;
            std::mem::forget(gap);
        } else {
            size /= 2;
        }
    }
}

/// Moves what a configuration was made into together, to the beginning of the memory where there is room.
///
/// For the end of [`Plugin::configure`](crate::Plugin::configure), once, with all that is large: where a plugin has tables
/// of more than some kilobytes, they lie behind and between what they were made of, which is free by then. Instances share
/// the pages that they only read, but to map these takes each of them time, and counts for each in the process's resident
/// memory. It is worth nothing where each instance is configured by itself.
///
/// It clones twice, so what clones share (`Rc`) stays where it is. The memory is larger by the value and 200 KiB at most
/// from then on: `limits.memory` must have room. One of more than 4 MiB is left as it is. Outside of WebAssembly it does
/// nothing.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Description, Plugin, compact};
///
/// struct Squares(Vec<u64>);
///
/// impl Plugin for Squares {
///     fn describe() -> Description {
///         Description::new("squares", "1.0.0", "Knows squares.")
///     }
///
///     fn configure(config_json: &str) -> Result<Self, String> {
///         let count: u64 = config_json.parse().map_err(|_| "not a number")?;
///         Ok(Self(compact((0..count).map(|number| number * number).collect())))
///     }
/// }
///
/// assert_eq!(Squares::configure("1000").unwrap().0[30], 900);
/// ```
pub fn compact<T: Clone>(made: T) -> T {
    #[cfg(target_arch = "wasm32")]
    let made = moved_down(made);
    made
}

/// Copies twice: first behind all else, and then to where nothing is any more.
#[cfg(target_arch = "wasm32")]
fn moved_down<T: Clone>(made: T) -> T {
    let memory = || core::arch::wasm32::memory_size::<0>() << 16;
    let mut gaps = Vec::with_capacity(GAPS_MAX);
    let before = memory();
    if before > MOVED_MAX {
        return made;
    }
    // An allocator takes the smallest free piece that is large enough. Once these are taken, the large ones first, a copy
    // goes behind them.
    let (mut size, mut end) = (LAST, None);
    while size >= GAP_MIN && gaps.len() < GAPS_MAX {
        let gap = piece(size);
        let at = gap.as_ptr().addr();
        gaps.push(gap);
        // Nothing lies behind what the memory had to grow for.
        if end.is_none() && memory() > before {
            end = Some(at);
        }
        if end.is_some_and(|end| at >= end) {
            size /= 2;
        }
    }
    let copy = made.clone();
    drop((made, gaps));
    copy.clone()
}

/// Memory that the compiler does not know to be unused.
fn piece(size: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(size))
}

#[cfg(test)]
mod tests {
    use super::{HEAD, PAGE, ROOM_MIN, rest_of_page};

    #[test]
    fn a_room_ends_with_a_page_and_is_worth_it() {
        for at in 0..3 * PAGE {
            let rest = rest_of_page(at);
            assert!((ROOM_MIN..PAGE + ROOM_MIN).contains(&rest), "{at}: {rest}");
            let end = (at + rest + HEAD) % PAGE;
            assert!(end == 0 || end < HEAD, "{at}: {rest}");
        }
    }
}
