//! Opposites, plurals, past tenses, rhymes and letters.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    let both_ways = OPPOSITES.iter().flat_map(|&[a, b]| [[a, b], [b, a]]);
    [
        OPPOSITE.facts(both_ways),
        PLURAL.facts(PLURALS.iter().copied()),
        PAST.facts(PASTS.iter().copied()),
        RHYME.facts(RHYMES.iter().copied()),
        FIRST_LETTER.facts(spelled()),
        LAST_LETTER.facts(spelled()),
        LENGTH.facts(spelled()),
    ]
    .concat()
}

const OPPOSITE: Form<2> = Form {
    topic: "opposites",
    slots: ["word", "opposite"],
    questions: &[
        "What is the opposite of {word}?",
        "Which word is the opposite of {word}?",
        "Can you tell me the opposite of {word}?",
        "What word means the opposite of {word}?",
        "If something is not {word}, what may it be?",
    ],
    helpful: &[
        "The opposite of {word} is {opposite}. You can remember them as a pair.",
        "It is {opposite}. The words {word} and {opposite} are opposites.",
    ],
    bare: "{opposite}.",
};

const PLURAL: Form<2> = Form {
    topic: "plurals",
    slots: ["noun", "plural"],
    questions: &[
        "What is the plural of {noun}?",
        "How do you say more than one {noun}?",
        "What do you call two of them if one is {a noun}?",
        "Can you tell me the plural of {noun}?",
    ],
    helpful: &["The plural of {noun} is {plural}. You say one {noun}, but two {plural}."],
    bare: "{plural}.",
};

const PAST: Form<2> = Form {
    topic: "past tense",
    slots: ["verb", "past"],
    questions: &[
        "What is the past tense of {verb}?",
        "How do you say {verb} in the past tense?",
        "Today I {verb}. What did I do yesterday?",
        "Can you tell me the past tense of {verb}?",
    ],
    helpful: &["The past tense of {verb} is {past}. Today I {verb}, and yesterday I {past}."],
    bare: "{past}.",
};

const RHYME: Form<2> = Form {
    topic: "rhymes",
    slots: ["word", "rhyme"],
    questions: &[
        "What rhymes with {word}?",
        "Which word rhymes with {word}?",
        "Can you find a rhyme for {word}?",
        "I need a word that rhymes with {word}.",
    ],
    helpful: &[
        "A word that rhymes with {word} is {rhyme}. The two would end a poem nicely.",
        "You could use {rhyme}, because {word} and {rhyme} end with the same sound.",
    ],
    bare: "{rhyme}.",
};

const FIRST_LETTER: Form<4> = Form {
    topic: "letters",
    slots: ["word", "first", "last", "length"],
    questions: &[
        "What is the first letter of {word}?",
        "Which letter does {word} start with?",
        "What letter comes first in the word {word}?",
    ],
    helpful: &["The first letter of {word} is {first}. The whole word has {length} letters."],
    bare: "{first}.",
};

const LAST_LETTER: Form<4> = Form {
    topic: "letters",
    slots: ["word", "first", "last", "length"],
    questions: &[
        "What is the last letter of {word}?",
        "Which letter does {word} end with?",
        "What letter comes last in the word {word}?",
    ],
    helpful: &["The last letter of {word} is {last}. The whole word has {length} letters."],
    bare: "{last}.",
};

const LENGTH: Form<4> = Form {
    topic: "letters",
    slots: ["word", "first", "last", "length"],
    questions: &[
        "How many letters are in {word}?",
        "How many letters does the word {word} have?",
        "How long is the word {word}?",
    ],
    helpful: &[
        "The word {word} has {length} letters. It starts with {first} and ends with {last}.",
    ],
    bare: "{length}.",
};

fn spelled() -> impl Iterator<Item = [String; 4]> {
    SPELLED.iter().map(|&word| {
        let capitals = word.to_ascii_uppercase();
        let (first, last) = (&capitals[..1], &capitals[capitals.len() - 1..]);
        let length = word.len().to_string();
        [word.to_owned(), first.to_owned(), last.to_owned(), length]
    })
}

/// Plain ASCII words: one byte is one letter.
const SPELLED: &[&str] = &[
    "cat", "house", "tree", "water", "bread", "garden", "window", "yellow", "rabbit", "summer",
    "winter", "kitchen", "flower", "music", "pencil", "river", "school", "train", "orange",
    "letter", "doctor", "planet", "sugar", "zebra", "island", "number", "apple", "butter", "king",
    "queen", "lamp", "very", "ocean", "uncle", "jump",
];

const OPPOSITES: &[[&str; 2]] = &[
    ["hot", "cold"],
    ["big", "small"],
    ["fast", "slow"],
    ["happy", "sad"],
    ["tall", "short"],
    ["full", "empty"],
    ["open", "closed"],
    ["clean", "dirty"],
    ["dry", "wet"],
    ["early", "late"],
    ["easy", "difficult"],
    ["rich", "poor"],
    ["strong", "weak"],
    ["loud", "quiet"],
    ["heavy", "light"],
    ["hard", "soft"],
    ["good", "bad"],
    ["young", "old"],
    ["high", "low"],
    ["deep", "shallow"],
    ["wide", "narrow"],
    ["thick", "thin"],
    ["near", "far"],
    ["sweet", "bitter"],
    ["bright", "dark"],
    ["sharp", "blunt"],
    ["smooth", "rough"],
    ["safe", "dangerous"],
    ["cheap", "expensive"],
    ["true", "false"],
    ["awake", "asleep"],
    ["alive", "dead"],
    ["brave", "afraid"],
    ["polite", "rude"],
    ["ancient", "modern"],
    ["tight", "loose"],
    ["possible", "impossible"],
    ["lucky", "unlucky"],
    ["visible", "invisible"],
    ["generous", "stingy"],
];

const PLURALS: &[[&str; 2]] = &[
    ["mouse", "mice"],
    ["child", "children"],
    ["foot", "feet"],
    ["tooth", "teeth"],
    ["goose", "geese"],
    ["man", "men"],
    ["woman", "women"],
    ["ox", "oxen"],
    ["leaf", "leaves"],
    ["knife", "knives"],
    ["wolf", "wolves"],
    ["shelf", "shelves"],
    ["loaf", "loaves"],
    ["life", "lives"],
    ["wife", "wives"],
    ["city", "cities"],
    ["baby", "babies"],
    ["story", "stories"],
    ["cherry", "cherries"],
    ["puppy", "puppies"],
    ["country", "countries"],
    ["butterfly", "butterflies"],
    ["box", "boxes"],
    ["bus", "buses"],
    ["glass", "glasses"],
    ["dish", "dishes"],
    ["brush", "brushes"],
    ["watch", "watches"],
    ["peach", "peaches"],
    ["fox", "foxes"],
    ["potato", "potatoes"],
    ["tomato", "tomatoes"],
    ["hero", "heroes"],
    ["piano", "pianos"],
    ["photo", "photos"],
    ["book", "books"],
    ["tree", "trees"],
    ["key", "keys"],
    ["toy", "toys"],
    ["day", "days"],
];

const PASTS: &[[&str; 2]] = &[
    ["go", "went"],
    ["eat", "ate"],
    ["run", "ran"],
    ["see", "saw"],
    ["write", "wrote"],
    ["sing", "sang"],
    ["swim", "swam"],
    ["drink", "drank"],
    ["buy", "bought"],
    ["bring", "brought"],
    ["think", "thought"],
    ["teach", "taught"],
    ["catch", "caught"],
    ["sleep", "slept"],
    ["leave", "left"],
    ["build", "built"],
    ["sell", "sold"],
    ["speak", "spoke"],
    ["drive", "drove"],
    ["ride", "rode"],
    ["fly", "flew"],
    ["draw", "drew"],
    ["give", "gave"],
    ["come", "came"],
    ["win", "won"],
    ["sit", "sat"],
    ["stand", "stood"],
    ["fall", "fell"],
    ["forget", "forgot"],
    ["begin", "began"],
    ["dig", "dug"],
    ["hide", "hid"],
    ["walk", "walked"],
    ["play", "played"],
    ["cook", "cooked"],
    ["dance", "danced"],
    ["study", "studied"],
    ["laugh", "laughed"],
];

const RHYMES: &[[&str; 2]] = &[
    ["cat", "hat"],
    ["dog", "frog"],
    ["house", "mouse"],
    ["tree", "bee"],
    ["moon", "spoon"],
    ["star", "car"],
    ["light", "night"],
    ["cake", "lake"],
    ["ring", "king"],
    ["boat", "goat"],
    ["train", "rain"],
    ["bed", "red"],
    ["book", "cook"],
    ["day", "play"],
    ["snow", "crow"],
    ["sky", "pie"],
    ["ball", "wall"],
    ["box", "fox"],
    ["pan", "man"],
    ["sun", "fun"],
    ["fish", "dish"],
    ["bear", "chair"],
    ["nose", "rose"],
    ["hill", "mill"],
    ["sheep", "sleep"],
    ["duck", "truck"],
    ["clock", "sock"],
    ["hand", "sand"],
    ["bell", "shell"],
    ["cold", "gold"],
    ["phone", "stone"],
    ["pink", "drink"],
    ["green", "queen"],
    ["blue", "shoe"],
    ["wing", "spring"],
    ["mail", "snail"],
];
