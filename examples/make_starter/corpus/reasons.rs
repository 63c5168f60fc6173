//! Why things are as they are.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    WHY.facts(REASONS.iter().copied())
}

const WHY: Form<4> = Form {
    topic: "reasons",
    slots: ["asked", "told", "answer", "bare"],
    questions: &[
        "Why {asked}?",
        "Can you tell me why {told}?",
        "Do you know why {told}?",
        "Please explain why {told}.",
    ],
    helpful: &["{answer}"],
    bare: "{bare}.",
};

const REASONS: &[[&str; 4]] = &[
    [
        "do we sleep",
        "we sleep",
        "We sleep because the body and the brain need rest. After a good night we feel fresh again.",
        "to rest",
    ],
    [
        "do we drink water",
        "we drink water",
        "We drink water because every part of the body needs it. We also lose some when we sweat.",
        "because of thirst",
    ],
    [
        "do we brush our teeth",
        "we brush our teeth",
        "We brush our teeth to remove food and germs. Clean teeth stay healthy for longer.",
        "to clean them",
    ],
    [
        "do we wash our hands",
        "we wash our hands",
        "We wash our hands to get rid of germs. Clean hands help us to stay healthy.",
        "because of germs",
    ],
    [
        "do we eat vegetables",
        "we eat vegetables",
        "We eat vegetables because they are full of vitamins. They help us to stay healthy.",
        "they are healthy",
    ],
    [
        "do we cook food",
        "we cook food",
        "We cook food because heat kills germs. It also makes many things softer and tastier.",
        "because of germs",
    ],
    [
        "do we have bones",
        "we have bones",
        "We have bones because they hold the body up. They also protect soft parts like the heart.",
        "to stand",
    ],
    [
        "do we wear coats in winter",
        "we wear coats in winter",
        "We wear coats in winter to keep warm. A thick coat holds warm air close to the body.",
        "it is cold",
    ],
    [
        "do we use umbrellas",
        "we use umbrellas",
        "We use umbrellas to stay dry in the rain. Some people also use them for shade.",
        "because of rain",
    ],
    [
        "do we wear a helmet on a bike",
        "we wear a helmet on a bike",
        "We wear a helmet to protect the head. If we fall, it softens the blow.",
        "for safety",
    ],
    [
        "do we recycle paper",
        "we recycle paper",
        "We recycle paper so that it can be used again. That saves trees, water and energy.",
        "to save trees",
    ],
    [
        "do we say thank you",
        "we say thank you",
        "We say thank you to show that we are grateful. It makes the other person feel good.",
        "to be polite",
    ],
    [
        "is the sky blue",
        "the sky is blue",
        "The sky is blue because the air scatters blue light the most. It reaches us from all sides.",
        "the air scatters light",
    ],
    [
        "is the sea salty",
        "the sea is salty",
        "The sea is salty because rivers wash salts out of the rocks. The salt stays in the sea.",
        "because of rocks",
    ],
    [
        "does ice melt",
        "ice melts",
        "Ice melts because it takes up heat. Above zero degrees Celsius it turns into water.",
        "because of heat",
    ],
    [
        "does it rain",
        "it rains",
        "It rains because tiny drops in a cloud join and grow heavy. Then they fall to the ground.",
        "because of clouds",
    ],
    [
        "does the moon shine",
        "the moon shines",
        "The moon shines because it reflects the light of the sun. It makes no light of its own.",
        "because of the sun",
    ],
    [
        "do stars look so small",
        "stars look so small",
        "Stars look small because they are very far away. In fact most of them are huge.",
        "they are far away",
    ],
    [
        "do we have seasons",
        "we have seasons",
        "We have seasons because the Earth is tilted. Each half gets more sun for a part of the year.",
        "the Earth is tilted",
    ],
    [
        "do leaves fall in autumn",
        "leaves fall in autumn",
        "Many trees drop their leaves in autumn to save water. New leaves grow in spring.",
        "to save water",
    ],
    [
        "do plants need light",
        "plants need light",
        "Plants need light because they use it to make their food. In the dark they grow weak.",
        "to make food",
    ],
    [
        "do bees visit flowers",
        "bees visit flowers",
        "Bees visit flowers to collect nectar and pollen. On the way they help plants to make seeds.",
        "for nectar",
    ],
    [
        "do birds fly south in winter",
        "birds fly south in winter",
        "Many birds fly south because food is hard to find in winter. They come back in spring.",
        "for food",
    ],
    [
        "do cats purr",
        "cats purr",
        "Cats often purr because they feel calm and happy. Some also purr to comfort themselves.",
        "they are happy",
    ],
    [
        "do dogs wag their tails",
        "dogs wag their tails",
        "Dogs wag their tails to show how they feel. A wide, loose wag often means joy.",
        "they are happy",
    ],
    [
        "do camels have humps",
        "camels have humps",
        "Camels have humps to store fat. The fat gives them energy when food is hard to find.",
        "to store fat",
    ],
    [
        "do owls hunt at night",
        "owls hunt at night",
        "Most owls hunt at night because they see and hear well in the dark. Their flight is silent.",
        "they see in the dark",
    ],
    [
        "does bread rise",
        "bread rises",
        "Bread rises because yeast makes small bubbles of gas. They make the dough soft and light.",
        "because of yeast",
    ],
    [
        "do boats float",
        "boats float",
        "A boat floats because the water pushes it up. The push is as strong as the boat is heavy.",
        "the water pushes",
    ],
];
