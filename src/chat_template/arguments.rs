//! Binds the arguments of a call to parameters as Python does.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Error, Value};

use super::values::{Python, error, type_name};

/// The arguments of a filter, test, method or function.
pub(super) struct Arguments {
    pub positional: Vec<Value>,
    pub keywords: Vec<(String, Value)>,
}

impl Arguments {
    /// Separates positional and keyword arguments. minijinja passes the keyword arguments as the last value.
    pub fn new(values: &[Value]) -> Result<Self, Error> {
        let mut positional = values.to_vec();
        let mut keywords = Vec::new();
        if positional.last().is_some_and(Value::is_kwargs)
            && let Some(last) = positional.pop()
        {
            let kwargs = Kwargs::try_from(last)?;
            for name in kwargs.args() {
                keywords.push((name.to_owned(), kwargs.peek(name)?));
            }
        }
        Ok(Arguments {
            positional,
            keywords,
        })
    }

    pub fn from_rest(rest: Rest<ValueOrKwargs>) -> Result<Self, Error> {
        Arguments::new(&rest.into_values())
    }

    /// Removes and returns the first positional argument: the value to which a filter or test is applied.
    pub fn subject(&mut self) -> Result<Value, Error> {
        if self.positional.is_empty() {
            return Err(error("a filter or test without a value"));
        }
        Ok(self.positional.remove(0))
    }

    /// Binds the arguments to parameters with these names. The first `required` parameters need an argument.
    pub fn bind<const N: usize>(
        self,
        function: &str,
        parameters: [&str; N],
        required: usize,
    ) -> Result<Bound<N>, Error> {
        if self.positional.len() > N {
            return Err(error(format!(
                "{function}() takes at most {N} arguments, {} were given",
                self.positional.len()
            )));
        }
        let mut values = [const { None }; N];
        for (slot, value) in values.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keywords {
            let Some(at) = parameters.iter().position(|parameter| *parameter == name) else {
                return Err(error(format!("{function}() has no parameter `{name}`")));
            };
            if values[at].replace(value).is_some() {
                return Err(error(format!("{function}() got `{name}` twice")));
            }
        }
        if let Some(missing) = (0..required).find(|&at| values[at].is_none()) {
            let name = parameters[missing];
            return Err(error(format!("{function}() needs an argument `{name}`")));
        }
        Ok(Bound { values })
    }
}

/// Arguments by the index of their parameter.
pub(super) struct Bound<const N: usize> {
    values: [Option<Value>; N],
}

impl<const N: usize> Bound<N> {
    /// The argument, unless it is missing or `none`.
    pub fn given(&self, at: usize) -> Option<&Value> {
        self.values[at].as_ref().filter(|value| !value.is_none())
    }

    /// The argument as passed, `none` included.
    pub fn passed(&self, at: usize) -> Option<&Value> {
        self.values[at].as_ref()
    }

    /// A required argument.
    pub fn value(&self, at: usize) -> Value {
        self.values[at].clone().unwrap_or_default()
    }

    pub fn truth(&self, at: usize) -> bool {
        self.values[at].as_ref().is_some_and(Value::is_true)
    }

    pub fn int(&self, at: usize, default: i128) -> Result<i128, Error> {
        match &self.values[at] {
            None => Ok(default),
            Some(value) => Python::from(value).int().ok_or_else(|| {
                error(format!(
                    "an integer was expected, not '{}'",
                    type_name(value)
                ))
            }),
        }
    }

    /// A text argument, unless it is missing or `none`.
    pub fn text(&self, at: usize) -> Result<Option<&str>, Error> {
        self.given(at).map(text_of).transpose()
    }

    /// A required text argument.
    pub fn required_text(&self, at: usize) -> Result<&str, Error> {
        text_of(self.values[at].as_ref().unwrap_or(&Value::UNDEFINED))
    }
}

/// The text of a string. Any other value is an error.
pub(super) fn text_of(value: &Value) -> Result<&str, Error> {
    match Python::from(value) {
        Python::Str(_) => Ok(value.as_str().unwrap_or_default()),
        _ => Err(error(format!(
            "a string was expected, not '{}'",
            type_name(value)
        ))),
    }
}
