"""What this project is called in Prefect: by the name of its folder, as in prefect.yaml.

Two projects on one server must have folders of different names: their deployments and events bear them.
"""

from pathlib import Path


def project_name() -> str:
    """The name of the folder: that of the project's deployments."""
    return Path.cwd().name


def project_resource() -> str:
    """The resource that events of the project are about; prefect.yaml spells it, too, for what waits for them."""
    return f"physicnet.project.{project_name()}"
