"""A place on a page that a script of book/_static fills from JSON. Introduced by story 05, whose calculator is one."""

import json


def div(name: str, payload: dict, **data: str) -> str:
    """HTML of a div of class `name` with the payload inside; data: its data- attributes, by their names after the dash.

    "<" is written as its code, so that no text of the payload ends the script.
    """
    attributes = "".join(f' data-{key}="{value}"' for key, value in data.items())
    text = json.dumps(payload).replace("<", "\\u003c")
    return f'<div class="{name}"{attributes}><script type="application/json">{text}</script></div>'
