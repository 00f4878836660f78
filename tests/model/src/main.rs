//! `cargo run --release -p slotkv-model -- [--variant NAME | --variants] [--replicas 3] [--writes 2]
//! [--epochs 3] ...`; `--help` lists all.

use std::process::ExitCode;
use std::time::Duration;

use slotkv_model::bounds::Bounds;
use slotkv_model::check::{Effort, explore};
use slotkv_model::configuration::Ack;
use slotkv_model::shard::Shard;
use slotkv_model::variant::Variant;

const HELP: &str = "\
Explores every state of the replication rules within bounds.

  --replicas N --isr N      how many there are, and how many are in the ISR at the start (3, 3)
  --ack one|all --min-isr N (one, 1)
  --epochs N --writes N     (3, 2)
  --restarts N --wipes N    crashes, with and without the data (1, 0)
  --changes N --ack-changes reconfigurations; whether of ack, too (1, no)
  --fail-backs N --edits N  (0, 0)
  --leases --rounds         how reads are answered (not at all)
  --dead-ends               asks every state whether it leads to a serving primary again
  --symmetry                takes states that differ in names only for one
  --threads N --minutes N   (2, 60)
  --frugal                  goes depth first: takes a small part of the memory
  --variant NAME            the rules with one mistake, which must be refuted
  --variants                all of them, and a table
  --show                    the counter-examples with --variants, too

  handover                  instead: rule 16, the hand-over of slots, with
    --writes N --plans N --source-fail-overs N --target-fail-overs N --tail N (2, 2, 1, 1, 2)
    --no-ends                 does not ask every state whether it leads to an end
    --threads, --minutes, --frugal, --variant, --variants, --show as above
";

struct Options {
    bounds: Bounds,
    bounded: bool,
    effort: Effort,
    variant: Option<Variant>,
    variants: bool,
    show: bool,
}

mod handover {
    //! The same for rule 16.

    use super::*;
    use slotkv_model::handover::mistake::Mistake;
    use slotkv_model::handover::rules::{Bounds, Handover};

    pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
        match run(arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(complaint) => {
                eprintln!("{complaint}; --help lists what there is");
                ExitCode::from(2)
            }
        }
    }

    fn run(mut arguments: impl Iterator<Item = String>) -> Result<bool, String> {
        let (mut bounds, mut mistake) = (Bounds::default(), None::<Mistake>);
        let (mut all, mut show, mut bounded) = (false, false, false);
        let mut effort = EFFORT;
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{flag} needs a value"));
            let number = |text: String| -> Result<u8, String> {
                text.parse().map_err(|_| format!("{text} is no number"))
            };
            bounded |= !matches!(
                flag.as_str(),
                "--threads" | "--minutes" | "--frugal" | "--variant" | "--variants" | "--show"
            );
            match flag.as_str() {
                "--writes" => bounds.writes = number(value()?)?,
                "--plans" => bounds.plans = number(value()?)?,
                "--source-fail-overs" => bounds.fail_overs[0] = number(value()?)?,
                "--target-fail-overs" => bounds.fail_overs[1] = number(value()?)?,
                "--tail" => bounds.tail = number(value()?)?.max(1),
                "--threads" => effort.threads = usize::from(number(value()?)?.max(1)),
                "--minutes" => effort.time_max = Duration::from_secs(60 * u64::from(number(value()?)?)),
                "--frugal" => effort.frugal = true,
                "--no-ends" => bounds.ends = false,
                "--variant" => {
                    let name = value()?;
                    mistake = Some(Mistake::named(&name).ok_or(format!("there is no variant {name}"))?);
                }
                "--variants" => all = true,
                "--show" => show = true,
                other => return Err(format!("{other} is no flag")),
            }
        }
        if all {
            println!("| variant | what is wrong | breaks | steps | states |\n|---|---|---|---|---|");
            let refuted = Mistake::ALL.map(|mistake| {
                let refutation = mistake.refutation();
                let bounds = if bounded { bounds } else { refutation.bounds };
                let verdict = explore(Handover::wrong(mistake, bounds), &effort);
                let broken = verdict.refuted.as_ref();
                let (property, steps) =
                    broken.map_or(("NOT REFUTED", 0), |example| (example.property, example.steps()));
                let (name, about, states) = (refutation.name, refutation.about, verdict.states);
                println!("| `{name}` | {about} | {property} | {steps} | {states} |");
                if show {
                    println!("\n{verdict}\n");
                }
                broken.is_some()
            });
            return Ok(refuted.into_iter().all(|refuted| refuted));
        }
        if let Some(mistake) = mistake.filter(|_| !bounded) {
            bounds = mistake.refutation().bounds;
        }
        eprintln!("{bounds:?}");
        let verdict = explore(Handover { bounds, mistake }, &effort);
        println!("{verdict}");
        let is_wrong = mistake.is_some_and(|mistake| Mistake::ALL.contains(&mistake));
        Ok(if is_wrong { verdict.refuted.is_some() } else { verdict.complete })
    }
}

const EFFORT: Effort =
    Effort { threads: 2, time_max: Duration::from_secs(60 * 60), progress: true, frugal: false };

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "handover") {
        return handover::main(std::env::args().skip(2));
    }
    match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => run(options),
        Ok(None) => {
            print!("{HELP}");
            let names = Variant::ALL.map(|variant| variant.refutation());
            names.iter().for_each(|refutation| println!("  {:<27} {}", refutation.name, refutation.about));
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}; --help lists what there is");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> ExitCode {
    if options.variants {
        return refute_all(&options);
    }
    let (shard, wanted) = match options.variant {
        Some(variant) => {
            let bounds = if options.bounded { options.bounds } else { variant.refutation().bounds };
            (Shard::wrong(variant, bounds), false)
        }
        None => (Shard::right(options.bounds), true),
    };
    eprintln!("{:?}", shard.bounds);
    let verdict = explore(shard, &options.effort);
    println!("{verdict}");
    let as_wanted = if wanted { verdict.complete } else { verdict.refuted.is_some() };
    if as_wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refute_all(options: &Options) -> ExitCode {
    let mut all_refuted = true;
    println!("| variant | what is wrong | breaks | steps | states |\n|---|---|---|---|---|");
    for variant in Variant::ALL {
        let refutation = variant.refutation();
        let verdict = explore(Shard::wrong(variant, refutation.bounds), &options.effort);
        let (broken, steps) = match &verdict.refuted {
            Some(example) => (example.property, example.steps().to_string()),
            None => ("NOT REFUTED", String::new()),
        };
        all_refuted &= verdict.refuted.is_some();
        println!(
            "| `{}` | {} | {broken} | {steps} | {} |",
            refutation.name, refutation.about, verdict.states
        );
        if options.show {
            println!("\n{verdict}\n");
        }
    }
    if all_refuted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// None if help is asked for.
fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let effort = EFFORT;
    let bounds = Bounds::default();
    let mut options = Options { bounds, bounded: false, effort, variant: None, variants: false, show: false };
    let mut arguments = arguments.peekable();
    while let Some(flag) = arguments.next() {
        let mut value =
            || arguments.next_if(|next| !next.starts_with("--")).ok_or(format!("{flag} needs a value"));
        let number = |text: Result<String, String>| -> Result<u8, String> {
            let text = text?;
            text.parse().map_err(|_| format!("{text} is no number"))
        };
        let bounds = &mut options.bounds;
        let bounded = !matches!(
            flag.as_str(),
            "--threads" | "--minutes" | "--frugal" | "--variant" | "--variants" | "--show"
        );
        options.bounded |= bounded;
        match flag.as_str() {
            "--help" => return Ok(None),
            "--replicas" => bounds.replicas = number(value())?,
            "--isr" => bounds.isr = number(value())?,
            "--min-isr" => bounds.min_isr = number(value())?,
            "--epochs" => bounds.epochs = number(value())?,
            "--writes" => bounds.writes = number(value())?,
            "--restarts" => bounds.restarts = number(value())?,
            "--wipes" => bounds.wipes = number(value())?,
            "--changes" => bounds.changes = number(value())?,
            "--fail-backs" => bounds.fail_backs = number(value())?,
            "--edits" => bounds.edits = number(value())?,
            "--ack-changes" => bounds.ack_changes = true,
            "--leases" => bounds.leases = true,
            "--rounds" => bounds.rounds = true,
            "--dead-ends" => bounds.dead_ends = true,
            "--symmetry" => bounds.symmetry = true,
            "--ack" => {
                bounds.ack = match value()?.as_str() {
                    "one" => Ack::One,
                    "all" => Ack::All,
                    other => return Err(format!("--ack is one or all, not {other}")),
                }
            }
            "--threads" => options.effort.threads = usize::from(number(value())?.max(1)),
            "--minutes" => options.effort.time_max = Duration::from_secs(60 * u64::from(number(value())?)),
            "--variant" => {
                let name = value()?;
                options.variant = Some(Variant::named(&name).ok_or(format!("there is no variant {name}"))?);
            }
            "--frugal" => options.effort.frugal = true,
            "--variants" => options.variants = true,
            "--show" => options.show = true,
            other => return Err(format!("{other} is no flag")),
        }
    }
    options.bounds.isr = options.bounds.isr.min(options.bounds.replicas);
    options.bounds.complaint().map_or(Ok(Some(options)), Err)
}
