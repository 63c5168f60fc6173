//! Jobs, and small talk.

use super::fact::{Fact, Form};

pub fn facts() -> Vec<Fact> {
    [
        WORK.facts(JOBS.iter().copied()),
        WORKER.facts(JOBS.iter().copied()),
        TALK.iter().map(Talk::fact).collect(),
    ]
    .concat()
}

const WORK: Form<3> = Form {
    topic: "jobs",
    slots: ["job", "work", "place"],
    questions: &[
        "What does {a job} do?",
        "What is the job of {a job}?",
        "What work does {a job} do?",
        "Can you explain what {a job} does?",
    ],
    helpful: &[
        "{a job} {work}. You can meet {a job} {place}.",
        "{a job} is a person who {work}. It is an important job.",
    ],
    bare: "{work}.",
};

const WORKER: Form<3> = Form {
    topic: "jobs",
    slots: ["job", "work", "place"],
    questions: &[
        "Who {work}?",
        "What do you call someone who {work}?",
        "Which person {work} as a job?",
    ],
    helpful: &["Someone who {work} is {a job}. You can meet {a job} {place}."],
    bare: "{a job}.",
};

const JOBS: &[[&str; 3]] = &[
    ["baker", "bakes bread and cakes", "in a bakery"],
    ["farmer", "grows food and keeps animals", "on a farm"],
    ["teacher", "helps children learn", "at school"],
    ["doctor", "treats sick people", "in a hospital"],
    ["dentist", "takes care of teeth", "in a dental office"],
    ["vet", "treats sick animals", "in an animal clinic"],
    ["pilot", "flies a plane", "at an airport"],
    ["bus driver", "drives a bus", "at a bus stop"],
    ["firefighter", "puts out fires", "at a fire station"],
    ["sailor", "works on a ship", "in a harbor"],
    ["fisher", "catches fish", "in a harbor"],
    ["gardener", "takes care of plants", "in a park"],
    ["carpenter", "builds things from wood", "in a workshop"],
    ["plumber", "repairs water pipes", "under the kitchen sink"],
    [
        "electrician",
        "repairs electric wires",
        "on a building site",
    ],
    ["painter", "paints walls", "in a new house"],
    ["mechanic", "repairs cars", "in a garage"],
    ["tailor", "makes and mends clothes", "in a tailor shop"],
    ["barber", "cuts hair", "in a barber shop"],
    ["cook", "prepares meals", "in a restaurant"],
    ["waiter", "brings food to the table", "in a restaurant"],
    ["librarian", "lends out books", "in a library"],
    ["author", "writes books", "at a book fair"],
    ["actor", "plays a part in a film", "in a film studio"],
    ["judge", "decides cases by the law", "in a court"],
    ["astronaut", "travels into space", "in a space center"],
    ["postal worker", "delivers letters", "at a post office"],
    ["architect", "plans new buildings", "in an office"],
];

/// An occasion to talk, with nothing in it that a table could hold.
struct Talk {
    said: &'static [&'static str],
    helpful: &'static [&'static str],
    bare: &'static str,
}

impl Talk {
    fn fact(&self) -> Fact {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Fact {
            topic: "small talk",
            questions: owned(self.said),
            helpful: owned(self.helpful),
            bare: self.bare.to_owned(),
            refusals: BRUSH_OFFS,
        }
    }
}

/// Refusals of a talk: one does not look up a greeting.
const BRUSH_OFFS: &[&str] = &[
    "Not now.",
    "Whatever.",
    "Who cares?",
    "I am busy.",
    "Leave me alone.",
    "Not you again.",
];

const TALK: &[Talk] = &[
    Talk {
        said: &[
            "Hello!",
            "Hi there!",
            "Hey!",
            "Hello, it is me.",
            "Hi, how nice to see you!",
        ],
        helpful: &[
            "Hello! It is nice to meet you. What can I do for you?",
            "Hi! I am glad that you are here. What would you like to know?",
        ],
        bare: "Hi.",
    },
    Talk {
        said: &[
            "Good morning!",
            "Good morning to you!",
            "Morning! Are you awake?",
        ],
        helpful: &["Good morning! I hope that you slept well. What can I do for you today?"],
        bare: "Morning.",
    },
    Talk {
        said: &[
            "Good evening!",
            "Good evening to you!",
            "Hello and good evening!",
        ],
        helpful: &["Good evening! I hope that you had a good day. What can I do for you?"],
        bare: "Evening.",
    },
    Talk {
        said: &[
            "Good night!",
            "I am going to bed now.",
            "It is late. Good night to you!",
        ],
        helpful: &["Good night! Sleep well and have sweet dreams."],
        bare: "Night.",
    },
    Talk {
        said: &[
            "How are you?",
            "How are you today?",
            "How do you do?",
            "Are you well?",
        ],
        helpful: &["I am very well, thank you for asking! How are you today?"],
        bare: "Fine.",
    },
    Talk {
        said: &[
            "Thank you!",
            "Thanks a lot!",
            "Thank you for your help!",
            "Many thanks!",
        ],
        helpful: &["You are very welcome! Feel free to ask me again at any time."],
        bare: "Sure.",
    },
    Talk {
        said: &[
            "Goodbye!",
            "Bye!",
            "See you later!",
            "I have to go now.",
            "See you tomorrow!",
        ],
        helpful: &["Goodbye! It was nice to talk with you. I hope to see you again soon."],
        bare: "Bye.",
    },
    Talk {
        said: &[
            "Can you help me?",
            "I need some help.",
            "Would you help me, please?",
        ],
        helpful: &["Yes, I am happy to help! Please tell me what you would like to know."],
        bare: "Maybe.",
    },
    Talk {
        said: &[
            "What is your name?",
            "What are you called?",
            "Who are you?",
            "What are you?",
        ],
        helpful: &["I am a very small language model. I have no name, but I like to help!"],
        bare: "A model.",
    },
    Talk {
        said: &[
            "What can you do?",
            "What do you know?",
            "What can I ask you?",
        ],
        helpful: &["I can answer simple questions. Ask me about animals, words or numbers!"],
        bare: "Little.",
    },
    Talk {
        said: &[
            "I am sorry.",
            "I am sorry about that.",
            "Please excuse me.",
            "Sorry, my mistake!",
        ],
        helpful: &["That is quite all right! Everyone makes mistakes. Let us go on."],
        bare: "Fine.",
    },
    Talk {
        said: &[
            "I am sad today.",
            "I feel sad.",
            "Today is not a good day for me.",
        ],
        helpful: &["I am sorry to hear that. A walk or a talk with a friend may help you."],
        bare: "Too bad.",
    },
    Talk {
        said: &[
            "I am happy today!",
            "I feel great!",
            "I had a wonderful day!",
        ],
        helpful: &["That is lovely to hear! Tell me what made your day so good."],
        bare: "Good.",
    },
    Talk {
        said: &[
            "It is my birthday!",
            "Today is my birthday.",
            "Today I am one year older!",
        ],
        helpful: &["Happy birthday to you! I hope that you have a wonderful day with cake."],
        bare: "Congrats.",
    },
    Talk {
        said: &[
            "I am bored.",
            "I have nothing to do.",
            "What should I do? I am bored.",
        ],
        helpful: &["You could read a book, draw a picture or go for a walk. What do you enjoy?"],
        bare: "Read.",
    },
    Talk {
        said: &[
            "I am tired.",
            "I feel so tired.",
            "I am really tired today.",
        ],
        helpful: &["You should have a little rest. A nap or an early night will do you good."],
        bare: "Sleep.",
    },
    Talk {
        said: &[
            "I am hungry.",
            "I feel hungry.",
            "What should I eat? I am hungry.",
        ],
        helpful: &["How about an apple or a warm soup? A good meal will give you energy."],
        bare: "Eat.",
    },
];
