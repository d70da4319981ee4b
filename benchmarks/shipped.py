"""Train the network that is shipped as models/cnn.safetensors, on all 60,000 training digits.

    python benchmarks/shipped.py

LONG is the best of benchmarks/recipe.py's long candidates on the validation split (there: "no dropout").
The test set is read once, after the last step.
"""

import mnistlab as ml

LONG = ml.TrainConfig(epochs=16, learning_rate=6e-3, warmup=0.2)


def main() -> None:
    train, test = ml.load_digits("train"), ml.load_digits("test")
    if not train.is_mnist:
        raise SystemExit(f"The shipped network is trained on MNIST, not on {train.source}.")
    models = ml.home() / "models"
    run = ml.fit(ml.CNN(seed=0), train, config=LONG, state=models / "runs" / "shipped.state")
    result = ml.evaluate(run.model, test)
    run.metrics = {
        "test": result.card(),
        "chosen": "settings on a 15 % validation split (benchmarks/results/recipe_long.json); test read once; seed 0",
    }
    run.save(models / "cnn.safetensors")
    print(f"{result.errors} errors of {result.count:,}: {result.accuracy:.2%}")


if __name__ == "__main__":
    main()
