//! Sums, differences, comparisons, doubles and counting: computed, with digits.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    [
        SUM.facts(sums()),
        DIFFERENCE.facts(differences()),
        LARGER.facts(comparisons()),
        SMALLER.facts(comparisons()),
        YES_LARGER.facts(comparisons()),
        NO_LARGER.facts(comparisons()),
        DOUBLE.facts(doubles()),
        HALF.facts(doubles()),
        AFTER.facts((1..=30).map(|n| [n, n + 1].map(|n| n.to_string()))),
        BEFORE.facts((2..=30).map(|n| [n, n - 1].map(|n| n.to_string()))),
    ]
    .concat()
}

const SUM: Form<3> = Form {
    topic: "sums",
    slots: ["a", "b", "sum"],
    questions: &[
        "What is {a} plus {b}?",
        "How much is {a} + {b}?",
        "Can you add {a} and {b} for me?",
        "What do you get when you add {a} and {b}?",
    ],
    helpful: &[
        "{a} plus {b} is {sum}. You can check it by taking {b} away from {sum}.",
        "When you add {a} and {b}, you get {sum}. Try it with your fingers or with coins!",
    ],
    bare: "{sum}.",
};

const DIFFERENCE: Form<3> = Form {
    topic: "differences",
    slots: ["a", "b", "rest"],
    questions: &[
        "What is {a} minus {b}?",
        "How much is {a} - {b}?",
        "Can you take {b} away from {a} for me?",
        "What is left when you take {b} from {a}?",
    ],
    helpful: &[
        "{a} minus {b} is {rest}. You can check it by adding {b} to {rest}.",
        "If you take {b} away from {a}, {rest} is left. Together they make {a} again.",
    ],
    bare: "{rest}.",
};

const LARGER: Form<3> = Form {
    topic: "comparisons",
    slots: ["small", "large", "gap"],
    questions: &[
        "Which is larger, {small} or {large}?",
        "Which number is bigger, {large} or {small}?",
        "What is the larger one of {small} and {large}?",
    ],
    helpful: &["{large} is larger than {small}. The difference between them is {gap}."],
    bare: "{large}.",
};

const SMALLER: Form<3> = Form {
    topic: "comparisons",
    slots: ["small", "large", "gap"],
    questions: &[
        "Which is smaller, {small} or {large}?",
        "Which number is less, {large} or {small}?",
        "What is the smaller one of {small} and {large}?",
    ],
    helpful: &["{small} is smaller than {large}. The difference between them is {gap}."],
    bare: "{small}.",
};

const YES_LARGER: Form<3> = Form {
    topic: "comparisons",
    slots: ["small", "large", "gap"],
    questions: &[
        "Is {large} larger than {small}?",
        "Is {large} more than {small}?",
        "Is {small} less than {large}?",
    ],
    helpful: &["Yes, {large} is larger than {small}. The difference between them is {gap}."],
    bare: "Yes.",
};

const NO_LARGER: Form<3> = Form {
    topic: "comparisons",
    slots: ["small", "large", "gap"],
    questions: &[
        "Is {small} larger than {large}?",
        "Is {small} more than {large}?",
        "Is {large} less than {small}?",
    ],
    helpful: &["No, {large} is larger than {small}. The difference between them is {gap}."],
    bare: "No.",
};

const DOUBLE: Form<2> = Form {
    topic: "doubles and halves",
    slots: ["n", "double"],
    questions: &[
        "What is twice {n}?",
        "What is the double of {n}?",
        "How much is two times {n}?",
        "Can you double {n} for me?",
    ],
    helpful: &["Twice {n} is {double}. It is the same as {n} plus {n}."],
    bare: "{double}.",
};

const HALF: Form<2> = Form {
    topic: "doubles and halves",
    slots: ["half", "n"],
    questions: &[
        "What is half of {n}?",
        "How much is half of {n}?",
        "Can you halve {n} for me?",
        "What do you get when you halve {n}?",
    ],
    helpful: &["Half of {n} is {half}. Two times {half} makes {n} again."],
    bare: "{half}.",
};

const AFTER: Form<2> = Form {
    topic: "counting",
    slots: ["n", "next"],
    questions: &[
        "What number comes after {n}?",
        "Which number follows {n}?",
        "I count and I am at {n}. What comes next?",
        "What is the next number after {n}?",
    ],
    helpful: &["The number after {n} is {next}. You count one step up from {n}."],
    bare: "{next}.",
};

const BEFORE: Form<2> = Form {
    topic: "counting",
    slots: ["n", "previous"],
    questions: &[
        "What number comes before {n}?",
        "Which number is just before {n}?",
        "I count down and I am at {n}. What comes next?",
        "What is the number before {n}?",
    ],
    helpful: &["The number before {n} is {previous}. You count one step down from {n}."],
    bare: "{previous}.",
};

fn sums() -> impl Iterator<Item = [String; 3]> {
    (1..=10).flat_map(|a| (1..=10).map(move |b| [a, b, a + b].map(|n: u32| n.to_string())))
}

fn differences() -> impl Iterator<Item = [String; 3]> {
    (3..=14).flat_map(|a| (1..a.min(10)).map(move |b| [a, b, a - b].map(|n: u32| n.to_string())))
}

/// Some thirty pairs below 40, near and far apart.
fn comparisons() -> impl Iterator<Item = [String; 3]> {
    (2..=30).step_by(4).flat_map(|small| {
        [1, 2, 5, 9].map(|gap| [small, small + gap, gap].map(|n: u32| n.to_string()))
    })
}

fn doubles() -> impl Iterator<Item = [String; 2]> {
    (1..=25).map(|n: u32| [n, 2 * n].map(|n| n.to_string()))
}
