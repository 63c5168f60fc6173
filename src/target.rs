//! The facts about a device that decide which variants of a kernel can run on it.

use serde::Serialize;

use crate::choice::choices;

choices! {
    /// The precision of the factors of matrix products. Sums, and everything else, are f32.
    #[derive(Default)]
    pub enum Precision {
        /// f32 throughout
        #[default]
        F32 = "f32",
        /// matrix units: products of f16, sums and all else in f32
        Mixed = "mixed",
    }
}

/// The facts about a device that decide between the variants of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// True if shaders run on the CPU: there workgroup memory is plain memory, and a barrier costs a loop.
    pub software: bool,
    /// The precision that the user asked for.
    pub precision: Precision,
    /// The device's matrix units for [`Precision::Mixed`].
    pub matrix_units: MatrixUnits,
}

impl Target {
    /// True if the user asked for mixed precision and the device has matrix units of this side.
    pub fn multiplies_by(&self, side: u32) -> bool {
        let has = match side {
            8 => self.matrix_units.eight,
            16 => self.matrix_units.sixteen,
            _ => false,
        };
        self.precision == Precision::Mixed && has
    }
}

/// Matrix units that multiply f16 and sum in f32, by their shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MatrixUnits {
    /// 8 × 8 × 8.
    pub eight: bool,
    /// 16 × 16 × 16.
    pub sixteen: bool,
}

impl MatrixUnits {
    /// True if the device has such units of any shape.
    pub fn any(self) -> bool {
        self.eight || self.sixteen
    }
}
