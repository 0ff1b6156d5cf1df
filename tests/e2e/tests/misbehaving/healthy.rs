//! Streams that are open the whole time, through a pipeline of their own.

use rust_proxy_testkit::{Gate, Response, Script, ScriptedUpstream, TestGateway, deltas};

/// How many there are.
pub(crate) const STREAMS: usize = 3;
/// How many steps each has: two for each deed, and some.
const STEPS: usize = 400;

/// A model that says to each of them a word in two halves at each step.
pub(crate) struct Model {
    pub(crate) upstream: ScriptedUpstream,
    gates: Vec<Gate>,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let gates: Vec<Gate> = (0..STREAMS).map(|_| Gate::new()).collect();
        let upstream = ScriptedUpstream::start(gates.iter().map(script)).await;
        Self { upstream, gates }
    }
}

fn script(gate: &Gate) -> Script {
    let begin = Script::stream().header("connection", "close").delta("Begin sec");
    let step = |script: Script, step| script.wait_for(gate).delta(&format!("ret {step} sec"));
    (0..STEPS).fold(begin, step).wait_for(gate).delta("ret").finish("stop").done()
}

/// The streams, at the same step.
pub(crate) struct Streams {
    open: Vec<(Gate, Response)>,
    steps: usize,
}

impl Streams {
    pub(crate) async fn open(gateway: &TestGateway, model: &Model) -> Self {
        let mut open = Vec::new();
        for gate in &model.gates {
            let mut response = gateway.ask("hello").await;
            assert_eq!(response.delta().await, "Begin ");
            open.push((gate.clone(), response));
        }
        Self { open, steps: 0 }
    }

    /// Lets each go on by one step: what was held comes, masked.
    pub(crate) async fn step(&mut self) {
        let expected = format!(" {} ", self.steps);
        self.open.iter().for_each(|(gate, _)| gate.open());
        for (_, response) in &mut self.open {
            // The word's frame and the rest of the other.
            assert_eq!(response.delta().await, "******", "a healthy stream");
            assert_eq!(response.delta().await, expected, "a healthy stream");
        }
        self.steps += 1;
    }

    /// Lets each come to its end.
    pub(crate) async fn end(mut self) {
        while self.steps < STEPS {
            self.step().await;
        }
        for (gate, response) in self.open {
            gate.open();
            let rest = response.body().await;
            assert_eq!(deltas(&rest), "******", "a healthy stream");
            assert!(rest.ends_with("data: [DONE]\n\n"), "a healthy stream: {rest}");
        }
    }
}
