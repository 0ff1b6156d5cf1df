//! The export macros. Each checks its type everywhere, and exports it where the target is WebAssembly: native
//! linkers do not take the names of component exports.

/// Exports a [`Processor`](crate::Processor): the contract's world `processor-plugin`.
///
/// Once per crate, at its root; the crate is a `cdylib`. The trait has an example.
#[macro_export]
macro_rules! processor_plugin {
    ($plugin:ty) => {
        $crate::__export!($plugin: Processor, [lifecycle processor]);
    };
}

/// Exports a [`ResponseModifier`](crate::ResponseModifier): the contract's world `response-modifier-plugin`.
///
/// Once per crate, at its root; the crate is a `cdylib`. The crate's documentation begins with an example.
#[macro_export]
macro_rules! response_modifier_plugin {
    ($plugin:ty) => {
        $crate::__export!($plugin: ResponseModifier, [lifecycle response_modifier]);
    };
}

/// Exports a plugin for both directions: the contract's world `filter-plugin`.
///
/// Once per crate, at its root; the crate is a `cdylib`.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{
///     Batch, Context, Decision, Description, Item, Outcome, Plugin, Processor, ResponseModifier, Session,
/// };
///
/// /// Lets everything pass, in both directions.
/// struct Pass;
///
/// impl Plugin for Pass {
///     fn describe() -> Description {
///         Description::new("pass", "1.0.0", "Lets everything pass.")
///     }
///
///     fn configure(_: &str) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Processor for Pass {
///     fn process(&mut self, _: &Context, _: &[Item]) -> Result<Decision, String> {
///         Ok(Decision::unchanged())
///     }
/// }
///
/// impl ResponseModifier for Pass {
///     type Session = Self;
///
///     fn open(&mut self, _: &Context) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Session for Pass {
///     fn push(&mut self, _: &Batch) -> Result<Outcome, String> {
///         Ok(Outcome::release())
///     }
/// }
///
/// rust_proxy_sdk::filter_plugin!(Pass);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! filter_plugin {
    ($plugin:ty) => {
        $crate::__export!($plugin: Processor + $crate::ResponseModifier, [lifecycle processor response_modifier]);
    };
}

/// Exports a [`Signer`](crate::Signer): the contract's world `signer-plugin`.
///
/// Once per crate, at its root; the crate is a `cdylib`. The trait has an example.
#[macro_export]
macro_rules! signer_plugin {
    ($plugin:ty) => {
        $crate::__export!($plugin: Signer, [lifecycle signer]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty: $part:ident $(+ $more:path)?, [$($interface:ident)*]) => {
        // Says here, on every target, what the type lacks.
        const _: fn() = || {
            fn plugin<T: $crate::$part $(+ $more)?>() {}
            plugin::<$plugin>();
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            // Before the others, so that they begin a page.
            #[used]
            static PAGE: $crate::glue::Page = $crate::glue::Page::new();

            ::std::thread_local! {
                static PLUGIN: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::new() };
            }

            struct Component;

            $(
                $crate::__interface!($interface $plugin);
                $crate::bindings::$interface::export!(Component with_types_in $crate::bindings::$interface);
            )*
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __interface {
    (lifecycle $plugin:ty) => {
        impl $crate::bindings::lifecycle::Guest for Component {
            fn describe() -> $crate::bindings::lifecycle::Description {
                $crate::glue::write_to_stack();
                let $crate::Description { name, version, summary } = <$plugin as $crate::Plugin>::describe();
                $crate::bindings::lifecycle::Description { name, version, summary }
            }

            fn configure(config_json: String) -> Result<(), String> {
                $crate::glue::configure(
                    config_json,
                    || ::core::arch::wasm32::memory_size::<0>() << 16,
                    |config_json| PLUGIN.with(|slot| slot.configure(config_json)),
                )
            }
        }
    };
    (processor $plugin:ty) => {
        impl $crate::bindings::processor::Guest for Component {
            fn process(
                context: $crate::Context,
                items: Vec<$crate::Item>,
            ) -> Result<$crate::Decision, String> {
                PLUGIN.with(|slot| slot.with(|plugin| $crate::Processor::process(plugin, &context, &items)))
            }
        }
    };
    (response_modifier $plugin:ty) => {
        /// The contract's `session`; its methods take `&self`.
        struct Open(::std::cell::RefCell<<$plugin as $crate::ResponseModifier>::Session>);

        impl $crate::bindings::response_modifier::Guest for Component {
            type Session = Open;
        }

        impl $crate::bindings::response_modifier::GuestSession for Open {
            fn open(
                context: $crate::Context,
            ) -> Result<$crate::bindings::response_modifier::Session, String> {
                let open = |plugin: &mut $plugin| $crate::ResponseModifier::open(plugin, &context);
                let session = PLUGIN.with(|slot| slot.with(open))?;
                let session = Self(::std::cell::RefCell::new(session));
                Ok($crate::bindings::response_modifier::Session::new(session))
            }

            fn push(&self, batch: $crate::Batch) -> Result<$crate::Outcome, String> {
                $crate::Session::push(&mut *self.0.borrow_mut(), &batch)
            }

            fn finish(&self) -> Result<Vec<$crate::Finding>, String> {
                $crate::Session::finish(&mut *self.0.borrow_mut())
            }
        }
    };
    (signer $plugin:ty) => {
        impl $crate::bindings::signer::Guest for Component {
            fn sign(request: $crate::SignRequest) -> Result<Vec<(String, String)>, String> {
                PLUGIN.with(|slot| slot.with(|plugin| $crate::Signer::sign(plugin, &request)))
            }
        }
    };
}
