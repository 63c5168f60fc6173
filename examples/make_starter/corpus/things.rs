//! Colors, materials, uses, kinds of things and shapes.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    [
        COLOR.facts(COLORS.iter().copied()),
        MATERIAL.facts(MATERIALS.iter().copied()),
        USE.facts(USES.iter().copied()),
        KIND.facts(kinds()),
        EITHER.facts(choices()),
        SHAPE.facts(SHAPES.iter().copied()),
    ]
    .concat()
}

const COLOR: Form<3> = Form {
    topic: "colors",
    slots: ["thing", "color", "other"],
    questions: &[
        "What color is {thing}?",
        "What is the color of {thing}?",
        "Which color does {thing} have?",
        "I want to paint {thing}. Which color should I use?",
    ],
    helpful: &[
        "The color of {thing} is usually {color}. You see the same color in {other}.",
        "It is usually {color}. Both {thing} and {other} have that color.",
    ],
    bare: "{color}.",
};

const MATERIAL: Form<3> = Form {
    topic: "materials",
    slots: ["thing", "material", "reason"],
    questions: &[
        "What is {a thing} made of?",
        "Which material is {a thing} made of?",
        "What do people use to make {a thing}?",
        "Can you tell me what {a thing} is made of?",
    ],
    helpful: &[
        "{a thing} is usually made of {material}, because {material} {reason}.",
        "People often use {material} to make {a thing}. That is because {material} {reason}.",
    ],
    bare: "{material}.",
};

const USE: Form<3> = Form {
    topic: "uses",
    slots: ["tool", "use", "place"],
    questions: &[
        "What is {a tool} used for?",
        "What do you use {a tool} for?",
        "What can I do with {a tool}?",
        "Why do people need {a tool}?",
    ],
    helpful: &[
        "You can use {a tool} to {use}. Look for one {place}.",
        "{a tool} helps you to {use}. You will often find one {place}.",
    ],
    bare: "To {use}.",
};

const KIND: Form<3> = Form {
    topic: "kinds",
    slots: ["thing", "kind", "remark"],
    questions: &[
        "What kind of thing is {a thing}?",
        "What is {a thing}?",
        "Can you tell me what {a thing} is?",
    ],
    helpful: &["{a thing} is {a kind}. {remark}."],
    bare: "{a kind}.",
};

const EITHER: Form<4> = Form {
    topic: "kinds",
    slots: ["thing", "kind", "other", "remark"],
    questions: &[
        "Is {a thing} {a kind} or {a other}?",
        "Is {a thing} {a other} or {a kind}?",
        "Which is right: is {a thing} {a other} or {a kind}?",
    ],
    helpful: &["{a thing} is {a kind}, not {a other}. {remark}."],
    bare: "{a kind}.",
};

const SHAPE: Form<3> = Form {
    topic: "shapes",
    slots: ["shape", "count", "example"],
    questions: &[
        "How many sides does {a shape} have?",
        "How many corners does {a shape} have?",
        "What is the number of sides of {a shape}?",
        "Can you tell me how many sides {a shape} has?",
    ],
    helpful: &["{a shape} has {count} sides and {count} corners. {example} looks like one."],
    bare: "{count}.",
};

fn kinds() -> impl Iterator<Item = [&'static str; 3]> {
    KINDS.iter().flat_map(|kind| {
        kind.things
            .iter()
            .map(|&thing| [thing, kind.name, kind.remark])
    })
}

/// Every thing against two other kinds, which differ from thing to thing.
fn choices() -> impl Iterator<Item = [&'static str; 4]> {
    KINDS.iter().enumerate().flat_map(|(own, kind)| {
        kind.things.iter().enumerate().flat_map(move |(i, &thing)| {
            [i, i + 1].map(|step| {
                let other = &KINDS[(own + 1 + step % (KINDS.len() - 1)) % KINDS.len()];
                [thing, kind.name, other.name, kind.remark]
            })
        })
    })
}

struct Kind {
    name: &'static str,
    remark: &'static str,
    things: &'static [&'static str],
}

/// No thing belongs to two kinds.
const KINDS: &[Kind] = &[
    Kind {
        name: "fruit",
        remark: "it grows on a plant and is good to eat",
        things: &["apple", "banana", "pear", "cherry", "peach", "mango"],
    },
    Kind {
        name: "tool",
        remark: "people use it to build and repair things",
        things: &["hammer", "saw", "screwdriver", "drill", "wrench", "chisel"],
    },
    Kind {
        name: "animal",
        remark: "it breathes, eats and moves around",
        things: &["dog", "horse", "tiger", "rabbit", "elephant", "giraffe"],
    },
    Kind {
        name: "vehicle",
        remark: "it takes people from place to place",
        things: &["car", "bus", "train", "bicycle", "truck", "tram"],
    },
    Kind {
        name: "vegetable",
        remark: "it is healthy and good to eat",
        things: &["carrot", "potato", "onion", "cabbage", "turnip", "leek"],
    },
    Kind {
        name: "musical instrument",
        remark: "you can play many songs on it",
        things: &["piano", "guitar", "violin", "drum", "flute", "trumpet"],
    },
    Kind {
        name: "flower",
        remark: "it looks lovely in a garden",
        things: &["rose", "tulip", "daisy", "lily", "sunflower", "daffodil"],
    },
    Kind {
        name: "piece of clothing",
        remark: "you wear it on your body",
        things: &["shirt", "coat", "sock", "sweater", "scarf", "skirt"],
    },
    Kind {
        name: "piece of furniture",
        remark: "you will find it in many homes",
        things: &["chair", "table", "bed", "sofa", "bookcase", "desk"],
    },
];

const COLORS: &[[&str; 3]] = &[
    ["a lemon", "yellow", "a sunflower"],
    ["a banana", "yellow", "a lemon"],
    ["a sunflower", "yellow", "a lemon"],
    ["grass", "green", "a cucumber"],
    ["a cucumber", "green", "spinach"],
    ["spinach", "green", "grass"],
    ["a pea", "green", "grass"],
    ["an emerald", "green", "grass"],
    ["a tomato", "red", "a cherry"],
    ["a strawberry", "red", "a tomato"],
    ["a cherry", "red", "a strawberry"],
    ["a stop sign", "red", "a fire truck"],
    ["a fire truck", "red", "a tomato"],
    ["a carrot", "orange", "a pumpkin"],
    ["a pumpkin", "orange", "a carrot"],
    ["a tangerine", "orange", "a carrot"],
    ["snow", "white", "milk"],
    ["milk", "white", "snow"],
    ["salt", "white", "snow"],
    ["a swan", "white", "snow"],
    ["a polar bear", "white", "snow"],
    ["coal", "black", "a raven"],
    ["a raven", "black", "coal"],
    ["a crow", "black", "coal"],
    ["the sky on a clear day", "blue", "a blueberry"],
    ["a blueberry", "blue", "a sapphire"],
    ["a sapphire", "blue", "a blueberry"],
    ["chocolate", "brown", "coffee"],
    ["coffee", "brown", "chocolate"],
    ["a chestnut", "brown", "chocolate"],
    ["a flamingo", "pink", "cotton candy"],
    ["cotton candy", "pink", "a flamingo"],
    ["an elephant", "gray", "a rain cloud"],
    ["a rain cloud", "gray", "an elephant"],
    ["an eggplant", "purple", "lavender"],
    ["lavender", "purple", "an eggplant"],
];

const MATERIALS: &[[&str; 3]] = &[
    ["window", "glass", "lets the light in"],
    ["bottle", "glass", "is smooth and clean"],
    ["mirror", "glass", "is smooth and flat"],
    ["table", "wood", "is strong and warm"],
    ["pencil", "wood", "is light and easy to cut"],
    ["bookcase", "wood", "is strong and easy to cut"],
    ["guitar", "wood", "gives a warm sound"],
    ["book", "paper", "is thin and easy to print on"],
    ["newspaper", "paper", "is cheap and easy to fold"],
    ["kite", "paper", "is light enough to fly"],
    ["T-shirt", "cotton", "is soft and light"],
    ["towel", "cotton", "dries the skin well"],
    ["winter sweater", "wool", "keeps you warm"],
    ["belt", "leather", "is strong and bends well"],
    ["boot", "leather", "keeps the water out"],
    ["tire", "rubber", "grips the road"],
    ["bouncing ball", "rubber", "springs back"],
    ["nail", "steel", "is very hard"],
    ["bridge", "steel", "can carry a lot"],
    ["train track", "steel", "can carry heavy trains"],
    ["wall", "brick", "lasts a long time"],
    ["chimney", "brick", "does not burn"],
    ["candle", "wax", "melts and burns slowly"],
    ["flower pot", "clay", "keeps its shape when baked"],
    ["wedding ring", "gold", "shines and does not rust"],
    ["toy brick", "plastic", "is light and colorful"],
];

const USES: &[[&str; 3]] = &[
    ["hammer", "drive nails into wood", "in a toolbox"],
    ["saw", "cut wood", "in a toolbox"],
    ["screwdriver", "turn screws", "in a toolbox"],
    ["drill", "make holes", "in a workshop"],
    ["ladder", "climb up high", "in a garage"],
    ["shovel", "dig a hole", "in a garden shed"],
    ["rake", "gather leaves", "in a garden shed"],
    ["broom", "sweep the floor", "in a closet"],
    ["sponge", "wash the dishes", "in the kitchen"],
    ["spoon", "eat soup", "in the kitchen"],
    ["knife", "cut bread", "in the kitchen"],
    ["kettle", "boil water", "in the kitchen"],
    ["oven", "bake a cake", "in the kitchen"],
    ["fridge", "keep food cold", "in the kitchen"],
    ["toothbrush", "clean your teeth", "in the bathroom"],
    ["towel", "dry your hands", "in the bathroom"],
    ["comb", "tidy your hair", "in the bathroom"],
    ["pen", "write a letter", "on a desk"],
    ["ruler", "draw a straight line", "on a desk"],
    ["eraser", "remove pencil marks", "on a desk"],
    ["lamp", "light up a room", "on a desk"],
    ["clock", "tell the time", "on the wall"],
    ["calendar", "keep track of the days", "on the wall"],
    ["map", "find your way", "in a car"],
    ["compass", "find north", "in a backpack"],
    ["tent", "sleep outdoors", "at a campsite"],
    ["needle", "sew on a button", "in a sewing box"],
    ["key", "open a lock", "in a pocket"],
    ["bucket", "carry water", "in a garage"],
    ["telescope", "look at the stars", "in an observatory"],
];

const SHAPES: &[[&str; 3]] = &[
    ["triangle", "three", "a slice of pizza"],
    ["square", "four", "a tile on the floor"],
    ["rectangle", "four", "a door"],
    ["rhombus", "four", "a diamond on a playing card"],
    ["pentagon", "five", "the outline of a simple house"],
    ["hexagon", "six", "a cell of a honeycomb"],
    ["heptagon", "seven", "the edge of some coins"],
    ["octagon", "eight", "a stop sign"],
];
