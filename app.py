"""Start the page: read the options, load one model, launch. `python app.py --help` explains every option."""

import argparse
import gc
import os
import threading

gc.disable()  # importing some thousand modules makes no garbage, and looking for it takes a sixth of the start

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # must stand before gradio is imported

import auditor
from auditor import gpu
from auditor.errors import ModelUnavailable


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Find flaws in a language model, fix them, prove it.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", help="`pocket`, a checkpoint folder, or a Hub id of the GPT-NeoX family such as "
                        "EleutherAI/pythia-410m. Not given: Pythia 2.8B where a GPU is present, else pocket")
    parser.add_argument("--device", help="`cpu`, `cuda` or `cuda:1`. Not given: cuda where present, else cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"),
                        help="precision of the weights. Not given: the checkpoint's own on cuda, float32 on cpu")
    parser.add_argument("--revision",
                        help="branch, tag or commit of a Hub id. Not given: the pinned one, else the newest")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
                        help="address to listen on; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
                        help="port to listen on")
    parser.add_argument("--queue", type=int, default=16, help="most visitors that may wait for the model at once")
    return parser


def prepare(model: auditor.SharedModel) -> None:
    """Measure, while the page is already open, what every first edit needs; it is kept on disk."""
    from auditor.editor.covariance import second_moment
    from auditor.editor.layers import likely
    second_moment(model, likely(model)[0])


def main() -> None:
    chosen = options().parse_args()
    try:
        model = auditor.load(chosen.model, device=chosen.device, dtype=chosen.dtype, revision=chosen.revision)
    except ModelUnavailable as error:
        raise SystemExit(str(error)) from None
    from auditor.ui import LAUNCH, build_app
    gpu.host(model)
    app = build_app(model).queue(max_size=chosen.queue)
    gc.enable()
    threading.Thread(target=gpu.call, args=(prepare,), daemon=True, name="prepare").start()
    app.launch(server_name=chosen.host, server_port=chosen.port, share=False, **LAUNCH)


if __name__ == "__main__":
    main()
