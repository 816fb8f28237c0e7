"""Draws what is changed about a model between two calls."""

SETTINGS = {  # by what the layer's source begins with: settings that may be changed later
    "layers.BatchNormalization": ("momentum = 0.3", "epsilon = 0.05", "trainable = False"),
    "layers.LayerNormalization": ("epsilon = 0.05",),
    "layers.GroupNormalization": ("epsilon = 0.05",),
    "layers.Dense": ("activation = keras.activations.tanh", "trainable = False"),
    "layers.Conv2D": ("activation = keras.activations.relu", "trainable = False"),
    "layers.DepthwiseConv2D": ("activation = keras.activations.relu", "trainable = False"),
    "layers.Activation": ("activation = keras.activations.tanh",),
    "layers.LeakyReLU": ("negative_slope = 0.4",),
    "layers.ELU": ("alpha = 0.3",),
    "layers.ReLU": ("max_value = 0.7", "negative_slope = 0.2"),
    "layers.Rescaling": ("scale = 0.8",),
    "layers.Dropout": ("rate = 0.5",),
    "layers.SpatialDropout2D": ("rate = 0.5",),
    "adapted(layers.Normalization": ("trainable = False",),
    "Scaled": ("factor = 0.9",),
    "InTraining": ("factor = 0.6",),
    "NoTraining": ("trainable = False", "norm.epsilon = 0.2"),
    "keras.Sequential": ("trainable = False", "layers[-1].trainable = False"),
    "functional": ("trainable = False",),
}


class Changes:
    """The changes that a `CallsDraw` makes; each method returns statements."""

    def _layer(self, fits):
        layers = [n.layer for n in self.program.nodes if n.make and "layers" in n.make
                  and n.layer in n.make and fits(n.make)]  # fmt: skip
        return self.d.pick(*layers) if layers else None

    def freeze(self):
        layer = self._layer(lambda make: True)
        if layer is None or self.d.chance(0.15):
            return [f"model.trainable = {self.d.pick(True, False)}", *self.recompile()]
        calls = [f"the(model, {layer!r}).trainable = {self.d.pick(False, False, True)}"]
        return calls + (self.recompile() if self.d.chance(0.4) else [])

    def setting(self):
        nodes = [
            (node.layer, change)
            for node in self.program.nodes
            if node.make and repr(node.layer) in node.make
            for start, changes in SETTINGS.items()
            if node.make.startswith(start + "(") or node.make.startswith(start + "()")
            for change in changes
        ]
        if not nodes:
            return []
        layer, change = self.d.pick(*nodes)
        if change == "rate = 0.5":
            self.random = True
            self.undo.append(f"the(model, {layer!r}).rate = 0.0")
        return [f"the(model, {layer!r}).{change}"]

    def optimizer(self):
        source = self.program.compile[0] if self.program.compile else ""
        changes = ["learning_rate = 0.03", "learning_rate = 0.003", "weight_decay = 0.05"]
        changes += ["clipnorm = 0.1", "learning_rate.assign(0.02)"]
        changes += ["momentum = 0.3", "momentum = 0.0"] if "momentum=" in source else []
        changes += ["beta_1 = 0.5"] if "Adam" in source else []
        change = self.d.pick(*changes)
        return [f"model.optimizer.{change}"]

    def weights(self):
        layer = self._layer(lambda make: True)
        options = [
            "model.set_weights([0.8 * w for w in model.get_weights()])",
            "randomize(model, 5)",
            "model.optimizer.iterations.assign(3)",
            "model.trainable_variables[0].assign(0.5 * model.trainable_variables[0])",
        ]
        if layer:
            options.append(
                f"the(model, {layer!r}).set_weights("
                f"[0.7 * w for w in the(model, {layer!r}).get_weights()])"
            )
        return [self.d.pick(*options)]

    def save(self):
        path = "folder / 'w.weights.h5'"
        between = self.d.pick(self.fit, self.train_on_batch)() if not self.random else []
        if self.d.chance(0.3):
            whole = "folder / 'm.keras'"
            return [
                f"model.save({whole})",
                f"keras.saving.load_model({whole}, compile=False).predict(xv, verbose=0)",
            ]
        return [f"model.save_weights({path})", *between, f"model.load_weights({path})"]

    def state(self):
        """Python numbers of the model's own, which a subclassed model may have."""
        names = [node.layer for node in self.program.nodes if node.make == "0.5"]
        return [f"model.{self.d.pick(*names)} = 0.8"] if names else []

    def adapt(self):
        """A Normalization that sees other data."""
        nodes = [node for node in self.program.nodes if (node.make or "").startswith("adapted(")]
        if not nodes:
            return []
        node = self.d.pick(*nodes)
        data = node.make[node.make.index("numbers(") : -1]
        return [f"the(model, {node.layer!r}).adapt(1 + 2 * {data})", *self.recompile()]

    def twin(self):
        """Another model of the same layers."""
        if self.program.kind != "functional" or self.random:
            return []
        compiling = self.compiling().replace("model.", "twin.", 1)
        return [
            self.d.pick(
                "twin = accelerate(keras.Model(model.input, model.output, name='twin'))",
                "twin = keras.Model(model.input, model.output, name='twin')",
            ),
            compiling,
            f"twin.fit(x, y, batch_size={self.batch}, verbose=0)",
        ]

    def again(self):
        between = [] if self.random else self.d.pick(self.fit, self.train_on_batch, list)()
        plain = self.d.pick(["model = restore(model)", *between], [])
        return [*plain, "model = accelerate(model)"]

    def gradients(self):
        """Gradients of the user's own, which Keras's steps throw away."""
        loss = "sum(t.sum() for t in keras.tree.flatten(model(on_torch(x))))"
        return [f"{loss}.backward()"]

    def hook(self):
        """A hook of torch's on a weight, which sees the gradient of a whole step."""
        change = self.d.pick("0.5 * g", "g.clamp(-0.01, 0.01)")
        weight = f"model.trainable_variables[{self.d.pick(0, -1)}]"
        return [f"hooked = {weight}.value.register_hook(lambda g: {change})"]

    def copy(self):
        """A model that is made of this one, and is plain; and a copy as it is."""
        new = "keras.models.clone_model(model)" if self.d.chance(0.5) else "copy.deepcopy(model)"
        return [f"other = {new}", "other.set_weights(model.get_weights())",
                "other.predict(xv, verbose=0)"]  # fmt: skip

    def add(self):
        """Another layer at the end of a Sequential."""
        if self.program.kind not in ("sequential", "deferred"):
            return []
        layer = self.d.pick("layers.Activation('tanh')", "layers.Rescaling(0.5)", "OwnWeight()")
        return [f"model.add({layer})", *self.recompile()]

    def recompile(self):
        return [self.compiling()]

    def wrong(self):
        """A call that plain Keras refuses, after what makes it wrong."""
        if self.d.chance(0.1):
            compiling = self.compiling()
            return [f"{compiling[:-1]}, steps_per_execution=2)", "model.fit(x, y, verbose=0)"]
        wrong = self.d.pick(
            "model.fit(x, y, batch_size=0, verbose=0)",
            "model.predict(numbers(1, 5, 17, 3, 2, 1), verbose=0)",
            "model.train_on_batch(numbers(1, 5, 17, 3, 2, 1), y)",
            "model.evaluate(x, numbers(1, 3, 7, 5), verbose=0)",
            "model.train_on_batch(x, numbers(1, n, 7, 5))",
            "model.test_on_batch(x, None)",
            "model.train_on_batch(x)",
            "model.fit(x, verbose=0)",
            "model.evaluate([x, x, x], y, verbose=0)",
            "model.compile('sgd', 'no_such_loss')",
        )
        return [wrong]
