//! A table most of whose values are the usual one.
#![expect(clippy::indexing_slicing, reason = "places were pushed; there are as many values as bits")]

/// Values by their place; those that are `T::default()` take no room.
///
/// A place has a bit, which says whether its value is another one. Where that is follows from the number of bits before
/// it (Jacobson's *rank*, 1989), which is known for each block and counted within: no search, a quarter of a byte for a
/// place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sparse<T> {
    blocks: Vec<Block>,
    values: Vec<T>,
    len: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Block {
    bits: u32,
    /// The number of values before it.
    before: u32,
}

impl<T: Copy + Default + PartialEq> Sparse<T> {
    /// Takes room for so many places.
    pub(crate) fn reserve(&mut self, places: usize) {
        self.blocks.reserve_exact(places.div_ceil(u32::BITS as usize));
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.len.is_multiple_of(u32::BITS) {
            self.blocks.push(Block { bits: 0, before: self.values.len() as u32 });
        }
        if value != T::default()
            && let Some(block) = self.blocks.last_mut()
        {
            block.bits |= 1 << (self.len % u32::BITS);
            self.values.push(value);
        }
        self.len += 1;
    }

    #[inline]
    pub(crate) fn get(&self, place: u32) -> T {
        let Block { bits, before } = self.blocks[(place / u32::BITS) as usize];
        let bit = 1 << (place % u32::BITS);
        if bits & bit == 0 {
            return T::default();
        }
        self.values[(before + (bits & (bit - 1)).count_ones()) as usize]
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sparse;

    proptest! {
        #[test]
        fn each_value_is_found_at_its_place(values in proptest::collection::vec(0_u8..3, 1..200)) {
            let mut sparse = Sparse::default();
            for (place, value) in values.iter().enumerate() {
                sparse.push(*value);
                prop_assert_eq!(sparse.get(place as u32), *value);
            }
            sparse.shrink_to_fit();
            let got: Vec<u8> = (0..values.len()).map(|place| sparse.get(place as u32)).collect();
            prop_assert_eq!(&got, &values);
            prop_assert_eq!(sparse.values.len(), values.iter().filter(|value| **value != 0).count());
        }
    }
}
