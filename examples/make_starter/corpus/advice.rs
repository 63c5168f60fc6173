//! How to do everyday things.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    HOW.facts(TASKS.iter().copied())
}

const HOW: Form<3> = Form {
    topic: "advice",
    slots: ["task", "answer", "bare"],
    questions: &[
        "How do I {task}?",
        "What is the best way to {task}?",
        "Can you tell me how to {task}?",
        "I want to {task}. What should I do?",
    ],
    helpful: &["{answer}"],
    bare: "{bare}.",
};

const TASKS: &[[&str; 3]] = &[
    [
        "make tea",
        "Boil some water and pour it over the tea. Wait about four minutes and then enjoy your cup.",
        "with hot water",
    ],
    [
        "boil an egg",
        "Put the egg into boiling water for about eight minutes. Then cool it in cold water.",
        "in water",
    ],
    [
        "cook rice",
        "Use two cups of water for one cup of rice. Let it simmer until the water is gone.",
        "in water",
    ],
    [
        "make a sandwich",
        "Put cheese and tomato between two slices of bread. Add some butter if you like.",
        "with bread",
    ],
    [
        "make lemonade",
        "Mix the juice of a lemon with water and sugar. Add some ice and stir it well.",
        "with lemons",
    ],
    [
        "make pancakes",
        "Mix flour, milk and eggs. Then fry the batter in a hot pan on both sides.",
        "in a pan",
    ],
    [
        "keep bread fresh",
        "Keep the bread in a closed box or a bag. You can also freeze what you do not need yet.",
        "in a box",
    ],
    [
        "plant a seed",
        "Put the seed into soft soil and water it a little. Then give it light and some time.",
        "in soil",
    ],
    [
        "water a plant",
        "Feel the soil first. If it is dry, pour water slowly until the soil is moist.",
        "with water",
    ],
    [
        "clean a window",
        "Wash the glass with warm water and a little soap. Then wipe it dry with a soft cloth.",
        "with a cloth",
    ],
    [
        "wash my hands",
        "Rub your hands with soap for twenty seconds. Then rinse them well and dry them.",
        "with soap",
    ],
    [
        "wrap a gift",
        "Lay the gift on a sheet of paper and fold the paper around it. Close it with tape.",
        "with paper",
    ],
    [
        "write a letter",
        "Start with a greeting and say what is new. Close with kind regards and your name.",
        "with a pen",
    ],
    [
        "learn new words",
        "Read a lot and write new words on small cards. Repeat them a little every day.",
        "read",
    ],
    [
        "learn to swim",
        "Take lessons with a good teacher and start in shallow water. Practice every week.",
        "take lessons",
    ],
    [
        "ride a bike",
        "Put on a helmet and start on a flat path. Look ahead, pedal gently and keep practicing.",
        "practice",
    ],
    [
        "learn the piano",
        "Find a teacher and begin with easy songs. A few minutes every day work best.",
        "practice",
    ],
    [
        "fall asleep",
        "Make your room dark and quiet and put your phone away. Then breathe slowly and relax.",
        "close your eyes",
    ],
    [
        "calm down",
        "Take a few slow, deep breaths. A short walk in fresh air may also help you.",
        "breathe",
    ],
    [
        "stay healthy",
        "Eat fruit and vegetables, move every day and sleep enough. Laughing helps, too!",
        "eat well",
    ],
    [
        "stay warm in winter",
        "Wear several thin layers, a hat and thick socks. A hot drink helps as well.",
        "wear a coat",
    ],
    [
        "make new friends",
        "Be kind, listen well and ask people about themselves. A club is a good place to start.",
        "talk to people",
    ],
    [
        "say sorry",
        "Tell the other person honestly that you are sorry. Then ask how you can make it right.",
        "just say it",
    ],
    [
        "save money",
        "Write down what you spend and set a little aside each month. Small amounts add up.",
        "spend less",
    ],
    [
        "save energy at home",
        "Switch off lights that you do not need. Wash with cold water and close the windows.",
        "use less",
    ],
    [
        "find a lost key",
        "Think of where you last had it and look there first. Then check your pockets and bags.",
        "keep looking",
    ],
    [
        "cross the street",
        "Stop at the curb and look both ways. Cross when no car is coming or the light is green.",
        "look both ways",
    ],
    [
        "take care of a dog",
        "Give the dog food, fresh water and a long walk every day. It also needs your love.",
        "feed it",
    ],
    [
        "remember a name",
        "Say the name aloud when you hear it. Then link it to a picture in your mind.",
        "repeat it",
    ],
];
