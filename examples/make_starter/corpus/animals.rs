//! What animals say, where they live, their young and their legs.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    [
        SOUND.facts(SOUNDS.iter().copied()),
        HOME.facts(HOMES.iter().copied()),
        YOUNG.facts(YOUNGS.iter().copied()),
        LEG.facts(LEGS.iter().copied()),
    ]
    .concat()
}

const SOUND: Form<3> = Form {
    topic: "animal sounds",
    slots: ["animal", "sound", "place"],
    questions: &[
        "What sound does {a animal} make?",
        "What does {a animal} say?",
        "What noise do you hear from {a animal}?",
        "Can you tell me how {a animal} sounds?",
    ],
    helpful: &[
        "{a animal} says {sound}. With some luck you can hear one {place}.",
        "You can hear {a animal} say {sound}. Go and listen for one {place}!",
    ],
    bare: "{sound}.",
};

const HOME: Form<3> = Form {
    topic: "animal homes",
    slots: ["animal", "home", "gain"],
    questions: &[
        "Where does {a animal} live?",
        "What is the home of {a animal}?",
        "Where can I find the home of {a animal}?",
        "Can you tell me where {a animal} lives?",
    ],
    helpful: &[
        "{a animal} lives {home}. There it can {gain}.",
        "The home of {a animal} is {home}, where it can {gain}.",
    ],
    bare: "{home}.",
};

const YOUNG: Form<2> = Form {
    topic: "young animals",
    slots: ["animal", "young"],
    questions: &[
        "What is a baby {animal} called?",
        "What do you call a young {animal}?",
        "What is the name for the young of {a animal}?",
        "Which word means a baby {animal}?",
    ],
    helpful: &[
        "A baby {animal} is called {a young}. One day it will be a grown {animal}.",
        "You call it {a young}. That is the word for a young {animal}.",
    ],
    bare: "{a young}.",
};

const LEG: Form<3> = Form {
    topic: "legs",
    slots: ["animal", "count", "group"],
    questions: &[
        "How many legs does {a animal} have?",
        "On how many legs does {a animal} stand?",
        "Can you tell me how many legs {a animal} has?",
        "What is the number of legs of {a animal}?",
    ],
    helpful: &[
        "{a animal} has {count} legs. It shares that with {group}.",
        "Like {group}, {a animal} has {count} legs. You can count them in a picture.",
    ],
    bare: "{count}.",
};

const SOUNDS: &[[&str; 3]] = &[
    ["cow", "moo", "on a farm"],
    ["dog", "woof", "in the park"],
    ["cat", "meow", "in the garden"],
    ["duck", "quack", "at a pond"],
    ["sheep", "baa", "in a meadow"],
    ["pig", "oink", "on a farm"],
    ["horse", "neigh", "in a stable"],
    ["donkey", "hee-haw", "on a farm"],
    ["hen", "cluck", "on a farm"],
    ["chick", "peep", "on a farm"],
    ["turkey", "gobble", "on a farm"],
    ["goose", "honk", "at a lake"],
    ["owl", "hoot", "in the woods at night"],
    ["crow", "caw", "in a field"],
    ["pigeon", "coo", "in the city"],
    ["small bird", "tweet", "in the garden"],
    ["frog", "croak", "at a pond"],
    ["bee", "buzz", "near flowers"],
    ["snake", "hiss", "at the zoo"],
    ["mouse", "squeak", "in a barn"],
    ["lion", "roar", "at the zoo"],
    ["wolf", "howl", "in the mountains"],
    ["cricket", "chirp", "in the grass"],
];

const HOMES: &[[&str; 3]] = &[
    ["bee", "in a hive", "make honey"],
    ["bird", "in a nest", "raise its chicks"],
    ["spider", "in a web", "catch flies"],
    ["fox", "in a den", "hide its cubs"],
    ["rabbit", "in a burrow", "hide from foxes"],
    ["mole", "in a tunnel", "dig for worms"],
    ["horse", "in a stable", "rest on straw"],
    ["pig", "in a sty", "roll in the mud"],
    ["cow", "in a barn", "stay warm in winter"],
    ["hen", "in a coop", "lay its eggs"],
    ["beaver", "in a lodge", "stay safe and dry"],
    ["ant", "in an anthill", "work with many others"],
    ["owl", "in a hollow tree", "sleep all day"],
    ["squirrel", "in a tree", "store its nuts"],
    ["bat", "in a cave", "hang upside down"],
    ["snail", "in its own shell", "hide at any time"],
    ["frog", "at a pond", "swim and catch flies"],
    ["camel", "in the desert", "go for days without water"],
    ["whale", "in the ocean", "swim very far"],
    ["shark", "in the sea", "hunt for fish"],
    ["monkey", "in the jungle", "climb from tree to tree"],
    ["lion", "on the savanna", "hunt in the tall grass"],
    ["polar bear", "in the Arctic", "hunt on the ice"],
];

const YOUNGS: &[[&str; 2]] = &[
    ["dog", "puppy"],
    ["cat", "kitten"],
    ["cow", "calf"],
    ["horse", "foal"],
    ["sheep", "lamb"],
    ["goat", "kid"],
    ["pig", "piglet"],
    ["duck", "duckling"],
    ["goose", "gosling"],
    ["swan", "cygnet"],
    ["owl", "owlet"],
    ["eagle", "eaglet"],
    ["chicken", "chick"],
    ["lion", "cub"],
    ["bear", "cub"],
    ["tiger", "cub"],
    ["wolf", "pup"],
    ["seal", "pup"],
    ["deer", "fawn"],
    ["kangaroo", "joey"],
    ["elephant", "calf"],
    ["whale", "calf"],
    ["frog", "tadpole"],
    ["butterfly", "caterpillar"],
];

const LEGS: &[[&str; 3]] = &[
    ["ant", "six", "other insects"],
    ["bee", "six", "other insects"],
    ["beetle", "six", "other insects"],
    ["butterfly", "six", "other insects"],
    ["fly", "six", "other insects"],
    ["spider", "eight", "the scorpion"],
    ["scorpion", "eight", "the spider"],
    ["crab", "ten", "the lobster"],
    ["lobster", "ten", "the crab"],
    ["hen", "two", "other birds"],
    ["duck", "two", "other birds"],
    ["owl", "two", "other birds"],
    ["penguin", "two", "other birds"],
    ["eagle", "two", "other birds"],
    ["dog", "four", "many other animals"],
    ["cat", "four", "many other animals"],
    ["horse", "four", "many other animals"],
    ["lion", "four", "many other animals"],
    ["elephant", "four", "many other animals"],
    ["mouse", "four", "many other animals"],
    ["frog", "four", "many other animals"],
    ["lizard", "four", "many other animals"],
];
