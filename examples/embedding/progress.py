"""Run a job template from a file and follow it with a callback.

python progress.py ../image-sequence/template.yaml OutputDir=frames
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from openjd.model import (
    DocumentType,
    Step,
    StepDependencyGraph,
    StepParameterSpaceIterator,
    create_job,
    decode_job_template,
    document_string_to_object,
    preprocess_job_parameters,
)

from openjd.sessions import ActionState, ActionStatus, Session


def main(path: Path, given: dict[str, str]) -> None:
    document = document_string_to_object(document=path.read_text("utf-8"), document_type=DocumentType.YAML)
    template = decode_job_template(template=document)
    values = preprocess_job_parameters(
        job_template=template,
        job_parameter_values=given,
        job_template_dir=path.parent.resolve(),
        current_working_dir=Path.cwd(),
    )
    job = create_job(job_template=template, job_parameter_values=values)
    with Session(session_id=job.name, job_parameter_values=values, callback=show) as session, ExitStack() as entered:
        for environment in job.jobEnvironments or []:
            entered.enter_context(session.environment(environment))
        for step in StepDependencyGraph(job=job).topo_sorted():
            run_step(step, session)


def run_step(step: Step, session: Session) -> None:
    """Run every task of a step within the step's environments."""
    with ExitStack() as entered:
        for environment in step.stepEnvironments or []:
            entered.enter_context(session.environment(environment, step_name=step.name))
        for parameters in StepParameterSpaceIterator(space=step.parameterSpace):
            print(step.name, *(f"{name}={value.value}" for name, value in parameters.items()))
            session.run_task(step_script=step.script, task_parameter_values=parameters, step_name=step.name)
            status = session.wait()
            if status.state is not ActionState.SUCCESS:
                sys.exit(f"It ended {status.state.name}: {status.fail_message or status.exit_code}")


def show(session_id: str, status: ActionStatus) -> None:
    """Called with every change of an action's status, mostly from a thread of the library."""
    bar = "#" * int((status.progress or 0) / 5)
    print(f"  {session_id} {status.state.name:8} |{bar:20}| {status.status_message or ''}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(argument.split("=", 1) for argument in sys.argv[2:]))
