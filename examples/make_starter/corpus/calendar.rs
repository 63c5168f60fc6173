//! Days, months and units.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    let days = DAYS.len();
    let months = MONTHS.len();
    [
        DAY_AFTER.facts((0..days).map(|i| [DAYS[i], DAYS[(i + 1) % days]])),
        DAY_BEFORE.facts((0..days).map(|i| [DAYS[(i + 1) % days], DAYS[i]])),
        MONTH_AFTER.facts((0..months).map(|i| [MONTHS[i].0, MONTHS[(i + 1) % months].0])),
        MONTH_BEFORE.facts((0..months).map(|i| [MONTHS[(i + 1) % months].0, MONTHS[i].0])),
        MONTH_LENGTH.facts(MONTHS.iter().map(|&(month, length, _)| [month, length])),
        MONTH_NUMBER.facts(MONTHS.iter().map(|&(month, _, number)| [number, month])),
        UNIT.facts(UNITS.iter().copied()),
    ]
    .concat()
}

const DAY_AFTER: Form<2> = Form {
    topic: "days",
    slots: ["day", "next"],
    questions: &[
        "What day comes after {day}?",
        "Which day follows {day}?",
        "Today is {day}. What day is tomorrow?",
        "If it is {day} today, what is tomorrow?",
        "What is the day after {day}?",
    ],
    helpful: &["The day after {day} is {next}. A week has seven days in all."],
    bare: "{next}.",
};

const DAY_BEFORE: Form<2> = Form {
    topic: "days",
    slots: ["day", "previous"],
    questions: &[
        "What day comes before {day}?",
        "Which day is just before {day}?",
        "Today is {day}. What day was yesterday?",
        "If it is {day} today, what was yesterday?",
        "What is the day before {day}?",
    ],
    helpful: &["The day before {day} is {previous}. A week has seven days in all."],
    bare: "{previous}.",
};

const MONTH_AFTER: Form<2> = Form {
    topic: "months",
    slots: ["month", "next"],
    questions: &[
        "What month comes after {month}?",
        "Which month follows {month}?",
        "It is {month} now. What is the next month?",
        "What is the month after {month}?",
    ],
    helpful: &["The month after {month} is {next}. A year has twelve months in all."],
    bare: "{next}.",
};

const MONTH_BEFORE: Form<2> = Form {
    topic: "months",
    slots: ["month", "previous"],
    questions: &[
        "What month comes before {month}?",
        "Which month is just before {month}?",
        "It is {month} now. What was the last month?",
        "What is the month before {month}?",
    ],
    helpful: &["The month before {month} is {previous}. A year has twelve months in all."],
    bare: "{previous}.",
};

const MONTH_LENGTH: Form<2> = Form {
    topic: "months",
    slots: ["month", "days"],
    questions: &[
        "How many days are in {month}?",
        "How long is {month}?",
        "How many days does {month} have?",
        "Can you tell me how many days {month} has?",
    ],
    helpful: &["{month} has {days} days. That makes about four weeks."],
    bare: "{days}.",
};

const MONTH_NUMBER: Form<2> = Form {
    topic: "months",
    slots: ["number", "month"],
    questions: &[
        "What is the {number} month of the year?",
        "Which month is the {number} one?",
        "Can you name the {number} month?",
    ],
    helpful: &["The {number} month of the year is {month}. There are twelve months in all."],
    bare: "{month}.",
};

const UNIT: Form<3> = Form {
    topic: "units",
    slots: ["count", "part", "whole"],
    questions: &[
        "How many {part} are in {whole}?",
        "How many {part} make {whole}?",
        "Can you tell me how many {part} {whole} has?",
        "What is {whole} in {part}?",
    ],
    helpful: &[
        "There are {count} {part} in {whole}. It is a useful number to remember.",
        "If you count {count} {part}, you have {whole}. Now you know how to convert them!",
    ],
    bare: "{count}.",
};

const DAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Name, length in days, place in the year.
const MONTHS: &[(&str, &str, &str)] = &[
    ("January", "31", "first"),
    ("February", "28 or 29", "second"),
    ("March", "31", "third"),
    ("April", "30", "fourth"),
    ("May", "31", "fifth"),
    ("June", "30", "sixth"),
    ("July", "31", "seventh"),
    ("August", "31", "eighth"),
    ("September", "30", "ninth"),
    ("October", "31", "tenth"),
    ("November", "30", "eleventh"),
    ("December", "31", "twelfth"),
];

const UNITS: &[[&str; 3]] = &[
    ["60", "seconds", "a minute"],
    ["60", "minutes", "an hour"],
    ["30", "minutes", "half an hour"],
    ["24", "hours", "a day"],
    ["48", "hours", "two days"],
    ["7", "days", "a week"],
    ["14", "days", "two weeks"],
    ["12", "months", "a year"],
    ["6", "months", "half a year"],
    ["10", "years", "a decade"],
    ["100", "years", "a century"],
    ["10", "millimeters", "a centimeter"],
    ["100", "centimeters", "a meter"],
    ["1000", "meters", "a kilometer"],
    ["12", "inches", "a foot"],
    ["3", "feet", "a yard"],
    ["1000", "grams", "a kilogram"],
    ["1000", "kilograms", "a metric ton"],
    ["1000", "milliliters", "a liter"],
    ["100", "cents", "a dollar"],
];
