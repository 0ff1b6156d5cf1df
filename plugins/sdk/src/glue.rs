//! What the export macros need at run time. Not for plugins.

use std::cell::RefCell;

use crate::Plugin;
pub use crate::heap::{Page, configure};

/// The instance's place: empty until `configure`.
#[derive(Debug)]
pub struct Slot<T>(RefCell<Option<T>>);

impl<T: Plugin> Slot<T> {
    #[expect(clippy::new_without_default, reason = "used in a static only")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    pub fn configure(&self, config_json: &str) -> Result<(), String> {
        let plugin = T::configure(config_json)?;
        self.0.replace(Some(plugin));
        Ok(())
    }

    /// Calls `f` with the instance.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> Result<R, String>) -> Result<R, String> {
        match self.0.borrow_mut().as_mut() {
            Some(plugin) => f(plugin),
            None => Err("`configure` was not called, or refused its configuration".to_owned()),
        }
    }
}

/// Writes to the stack's first page. A host calls `describe` ahead, so that pages which any call writes to are the
/// instance's own before a request waits; `describe` alone would not need the stack.
#[inline(never)]
pub fn write_to_stack() {
    std::hint::black_box([0_u8; 16]);
}

#[cfg(test)]
mod tests {
    use super::Slot;
    use crate::{Description, Plugin};

    struct Number(u32);

    impl Plugin for Number {
        fn describe() -> Description {
            Description::new("number", "1", "Keeps a number.")
        }

        fn configure(config_json: &str) -> Result<Self, String> {
            config_json.parse().map(Self).map_err(|_| "not a number".to_owned())
        }
    }

    #[test]
    fn a_call_before_configure_is_an_error_that_says_so() {
        let slot = Slot::<Number>::new();
        assert!(slot.with(|number| Ok(number.0)).unwrap_err().contains("configure"));
        assert_eq!(slot.configure("x"), Err("not a number".to_owned()));
        assert!(slot.with(|number| Ok(number.0)).is_err());
        slot.configure("7").unwrap();
        assert_eq!(slot.with(|number| Ok(number.0)), Ok(7));
    }
}
