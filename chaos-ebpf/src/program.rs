//! What programs on functions of the kernel have in common.

use core::ffi::c_void;

/// An argument of the hooked function.
///
/// # Safety
/// The context is the program's own. The verifier knows how many arguments the function has.
#[inline(always)]
pub unsafe fn argument(context: *mut c_void, index: usize) -> u64 {
    // SAFETY: see above.
    unsafe { *context.cast::<u64>().add(index) }
}

/// A program on a function with so many arguments, whose result is another one when the body's is
/// not 0. What an earlier program on the same function has returned stands.
#[macro_export]
macro_rules! program {
    ($(#[$doc:meta])* $name:ident, $section:literal, $arguments:literal, |$context:ident| $body:expr) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        pub extern "C" fn $name($context: *mut core::ffi::c_void) -> i64 {
            // It comes after the arguments.
            // SAFETY: the verifier knows the hooked function.
            let earlier = unsafe { $crate::program::argument($context, $arguments) }.cast_signed();
            if earlier != 0 {
                return earlier;
            }
            // SAFETY: the verifier knows the hooked function.
            unsafe { $body }
        }
    };
}
