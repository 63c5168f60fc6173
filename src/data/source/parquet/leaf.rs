//! Converts one stored value of a parquet column into JSON.

use std::fmt::Write;

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use ::parquet::data_type::AsBytes;
use ::parquet::schema::types::Type;
use chrono::{DateTime, NaiveTime};
use half::f16;
use serde_json::Value;

use super::column::Values;
use super::damaged::Damaged;
use crate::data::source::json;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The meaning of a column's stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Numbers, booleans, and bytes, which are text if they are UTF-8.
    Plain,
    Unsigned,
    /// A half-precision float in two bytes.
    Half,
    /// An integer to be divided by ten to the power of `scale`.
    Decimal {
        scale: i32,
    },
    /// Days since 1970.
    Date,
    /// Time since midnight, in units of `1 / per_second` seconds.
    Time {
        per_second: i64,
    },
    /// Time since the beginning of 1970, in units of `1 / per_second` seconds.
    Timestamp {
        per_second: i64,
        is_utc: bool,
    },
}

impl Leaf {
    /// The meaning of a primitive field's values, by its logical type or its older converted type.
    pub fn of(field: &Type) -> Leaf {
        let info = field.get_basic_info();
        match info.logical_type_ref() {
            Some(LogicalType::Float16) => return Leaf::Half,
            Some(LogicalType::Time(time)) => {
                let per_second = per_second(&time.unit);
                return Leaf::Time { per_second };
            }
            Some(LogicalType::Timestamp(time)) => {
                return Leaf::Timestamp {
                    per_second: per_second(&time.unit),
                    is_utc: time.is_adjusted_to_u_t_c,
                };
            }
            _ => {}
        }
        // The other logical types also have a converted type.
        let utc = |per_second| Leaf::Timestamp {
            per_second,
            is_utc: true,
        };
        match info.converted_type() {
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Leaf::Unsigned,
            ConvertedType::DECIMAL => Leaf::Decimal {
                scale: field.get_scale(),
            },
            ConvertedType::DATE => Leaf::Date,
            ConvertedType::TIME_MILLIS => Leaf::Time { per_second: 1_000 },
            ConvertedType::TIME_MICROS => Leaf::Time {
                per_second: 1_000_000,
            },
            ConvertedType::TIMESTAMP_MILLIS => utc(1_000),
            ConvertedType::TIMESTAMP_MICROS => utc(1_000_000),
            _ => Leaf::Plain,
        }
    }

    /// The column's value at index `at`.
    pub fn value(self, values: &Values, at: usize) -> Result<Value, Damaged> {
        let value = match values {
            Values::Bool(values) => values.get(at).map(|&value| Value::Bool(value)),
            Values::Int32(values) => values.get(at).map(|&value| match self {
                Leaf::Unsigned => Value::from(value.cast_unsigned()),
                _ => self.integer(value.into()),
            }),
            Values::Int64(values) => values.get(at).map(|&value| match self {
                Leaf::Unsigned => Value::from(value.cast_unsigned()),
                _ => self.integer(value),
            }),
            Values::Int96(values) => values
                .get(at)
                .map(|value| timestamp(value.to_nanos(), NANOS_PER_SECOND, false)),
            Values::Float(values) => values.get(at).map(|&value| float(value.into())),
            Values::Double(values) => values.get(at).map(|&value| float(value)),
            Values::Bytes(values) => values.get(at).map(|value| match self {
                Leaf::Decimal { scale } => decimal(value.data(), scale),
                _ => text(value.data()),
            }),
            Values::FixedBytes(values) => values.get(at).map(|value| match self {
                Leaf::Decimal { scale } => decimal(value.data(), scale),
                Leaf::Half => half(value.as_bytes()),
                _ => binary(),
            }),
        };
        value.ok_or(Damaged)
    }

    fn integer(self, value: i64) -> Value {
        match self {
            Leaf::Decimal { scale } => scaled(value.into(), scale),
            Leaf::Date => {
                let date = DateTime::from_timestamp(value.saturating_mul(SECONDS_PER_DAY), 0);
                date.map_or(value.into(), |date| date.date_naive().to_string().into())
            }
            Leaf::Time { per_second } => {
                let (seconds, nanos) = split(value, per_second);
                let time = u32::try_from(seconds).ok();
                let time =
                    time.and_then(|s| NaiveTime::from_num_seconds_from_midnight_opt(s, nanos));
                time.map_or(value.into(), |time| {
                    time.format("%H:%M:%S%.f").to_string().into()
                })
            }
            Leaf::Timestamp { per_second, is_utc } => timestamp(value, per_second, is_utc),
            Leaf::Plain | Leaf::Unsigned | Leaf::Half => value.into(),
        }
    }
}

fn per_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => NANOS_PER_SECOND,
    }
}

/// Whole seconds, and the nanoseconds beyond them.
fn split(value: i64, per_second: i64) -> (i64, u32) {
    let nanos = value.rem_euclid(per_second) * (NANOS_PER_SECOND / per_second);
    // The nanoseconds are fewer than a second has, so they fit.
    (value.div_euclid(per_second), nanos as u32)
}

/// ISO 8601; a time outside the calendar's range stays a number.
fn timestamp(value: i64, per_second: i64, is_utc: bool) -> Value {
    let (seconds, nanos) = split(value, per_second);
    let Some(time) = DateTime::from_timestamp(seconds, nanos) else {
        return value.into();
    };
    let mut text = time.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
    if is_utc {
        text.push('Z');
    }
    text.into()
}

fn float(value: f64) -> Value {
    let not_finite = || match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    };
    let number = serde_json::Number::from_f64(value);
    number.map_or_else(|| json::mark(not_finite()), Value::Number)
}

fn half(bytes: &[u8]) -> Value {
    let bytes = bytes.try_into();
    bytes.map_or_else(
        |_| binary(),
        |bytes| float(f16::from_le_bytes(bytes).into()),
    )
}

/// A big-endian two's complement integer of any length.
fn decimal(bytes: &[u8], scale: i32) -> Value {
    if bytes.len() > size_of::<i128>() {
        return json::mark("a decimal of more than 38 digits");
    }
    let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
    let sign = if negative { -1 } else { 0 };
    let value = bytes
        .iter()
        .fold(sign, |value: i128, &byte| value << 8 | i128::from(byte));
    scaled(value, scale)
}

/// The number nearest to `value / 10^scale`.
fn scaled(value: i128, scale: i32) -> Value {
    if let (0, Ok(value)) = (scale, i64::try_from(value)) {
        return value.into();
    }
    let mut text = value.to_string();
    // Writing to a string cannot fail.
    let _ = write!(text, "e{}", -i64::from(scale));
    text.parse().map_or_else(|_| binary(), float)
}

fn text(bytes: &[u8]) -> Value {
    str::from_utf8(bytes).map_or_else(|_| binary(), Value::from)
}

fn binary() -> Value {
    json::mark("binary data, not UTF-8")
}
