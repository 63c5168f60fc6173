//! What a device is, as far as it decides which variant of a kernel runs.

use serde::Serialize;

use crate::config::choices;

choices! {
    /// In what matrix products are multiplied. Sums, and all else, are f32.
    #[derive(Default)]
    pub enum Precision {
        /// f32 throughout
        #[default]
        F32 = "f32",
        /// matrix units: products of f16, sums and all else in f32
        Mixed = "mixed",
    }
}

/// What a device is, as far as it decides between variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Shaders run on the CPU: workgroup memory is plain memory, and a barrier costs a loop.
    pub software: bool,
    /// What was asked for.
    pub precision: Precision,
    /// What it has for [`Precision::Mixed`].
    pub matrix_units: MatrixUnits,
}

impl Target {
    /// True if matrix units of this side were asked for and are there.
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
    /// True if there are some.
    pub fn any(self) -> bool {
        self.eight || self.sixteen
    }
}
