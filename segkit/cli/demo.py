"""`segkit demo`: the whole chain on synthetic data, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from segkit.cli.session import Session, command


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "demo")
    def demo(
        session: Session,
        output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where data and run go.")] = Path("runs/demo"),
        steps: Annotated[int | None, typer.Option("--steps", help="Fewer than the recipe's, to see it work.", show_default=False)] = None,
    ) -> None:
        """Phantom scans -> train DeepMedic -> predict -> evaluate -> logit shift -> report."""
        from segkit.analysis.subject import Subject
        from segkit.cli.analyze import VOXELS
        from segkit.cli.findings import Findings
        from segkit.cli.scoreboard import show
        from segkit.config.overrides import apply_values
        from segkit.config.yaml import load
        from segkit.engine.device import choose_device
        from segkit.engine.evaluate import summarize, write_scores
        from segkit.engine.folders import score_recipe
        from segkit.engine.infer import Predictor, predict_all
        from segkit.engine.run import Run
        from segkit.engine.train import train
        from segkit.recipe import resolve
        from segkit.report.page import write_report

        console, folder = session.console, output.resolve()
        overrides = {"dataset.root": str(folder / "data")} | ({"train.steps": steps} if steps else {})
        recipe = resolve(apply_values(load(recipes() / "phantom" / "demo.yaml"), overrides))
        run = Run(folder / "run")
        train(recipe, run, resumed=run.exists(), console=console)
        device = choose_device("auto")
        predictor = Predictor.load([run.path], device)
        cases = recipe.dataset.splits().test
        with console.track("predict", len(cases)) as tracker:
            for outcome in predict_all(predictor, cases, run.predictions, overwrite=True):
                tracker.advance(outcome.case)
        rows, failed = score_recipe(run.predictions, recipe, "test")
        write_scores(run.path, rows, failed)
        if not session.quiet:
            show(summarize(rows))
        findings = Findings(session)
        findings.show(findings.look(Subject.load(run.path, run.name, device, session.console), VOXELS, embedded=False))
        findings.close()
        console.say(f"report: {run.report} ({write_report(run, run.report, console)})")


def recipes() -> Path:
    """The shipped recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
