"""Writes a configuration of openapi-generator for each language, in which operations have the names that the document proposes, in the
style of the language: openapi-generator takes a mapped name as it is."""

import json
import pathlib
import re


def camel(name):
    return name


def pascal(name):
    return name[0].upper() + name[1:]


def snake(name):
    return re.sub(r"(?=[A-Z])", "_", name).lower()


LANGUAGES = {"typescript-fetch": camel, "python": snake, "go": pascal, "java": camel, "php": camel, "csharp": pascal}
HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "openapi.json"

paths = json.loads(DOCUMENT.read_text())["paths"]
operations = [operation for item in paths.values() for operation in item.values()]
for language, style in LANGUAGES.items():
    configuration = {
        "generatorName": language,
        "inputSpec": str(DOCUMENT),
        "outputDir": str(HERE / "generated" / "openapi-generator" / language),
        "operationIdNameMappings": {
            operation["operationId"]: style(operation["x-operation-name"]) for operation in operations
        },
        "globalProperties": {"apiDocs": "false", "apiTests": "false", "modelDocs": "false", "modelTests": "false"},
    }
    (HERE / "generated" / f"{language}.json").write_text(json.dumps(configuration))
