"""A regressor that scales its inputs and its target by itself, in memory or from files, with scikit-learn's methods."""

# Design: the network sees float32 (or float64) numbers of size 1, and what makes them is part of the model: inputs are
# centered and scaled in float64 and cast after, the target likewise, and predictions are undone in float64. So Unix
# seconds keep their digits, and a target of size 1e9 trains as one of size 1. Turned down: scaling inside the network
# by a batch normalization of the inputs, which would see the raw numbers as float32.
#
# Design: everything random comes from one seed, by name and epoch (initial weights, order of the rows of an epoch,
# rows of the validation share), not from one generator that is drawn from as training goes on. So epoch 7 is the same
# after a warm start as in one go. Turned down: a shared generator, where every draw more shifts all that follow.

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..errors import DataError
from ..scalers import BaseScaler
from ..scalers._contract import Parameters
from ..scalers._inputs import kind_of
from ..scalers._select import as_names
from ._regressor_network import Recipe, make_network, make_optimizer, read_recipe, seed_of, set_rate
from ._regressor_rows import Source, frame_or_matrix, in_chunks
from ._regressor_scaling import (
    Material,
    Scaling,
    inputs_like,
    inputs_of,
    material_in_memory,
    own_units,
    r_squared,
    rows_in_memory,
)
from ._regressor_training import Progress, Run, train_network
from .sequential import Sequential

__all__ = ["Regressor"]

Names = str | Sequence[str] | None


class Regressor(Parameters):
    """A neural network for regression, with its own scaling of inputs and target.

    Parameters
    ----------
    hidden : sequence of int, or int, default (64, 64)
        Widths of the hidden layers; () for a linear model.
    norm : {"batch", "layer", "instance", "group", "rms"} or None, default "batch"
        The normalization between each hidden layer and its activation.
    activation : {"relu", "tanh", "sigmoid"}, default "relu"
    dropout : float, default 0.0
        Share of the hidden units that each training step leaves out.
    scaler : {"standard", "minmax", "maxabs", "robust"}, scaler, dict or None, default "standard"
        How inputs are scaled: one method, a scaler (which is copied, and fitted with the network), or a method for each
        column as for :func:`streamnorm.fit`. None: not at all.
    target_scaler : as `scaler`, default "standard"
        How the target is scaled for training, which :meth:`predict` undoes.
    loss : str or Loss, default "mean_squared_error"
        "mean_squared_error", "mean_absolute_error", "huber" or "quantile", or an object of ``streamnorm.nn``, such as
        ``QuantileLoss(0.9)``. It is applied to the scaled target: a Huber delta counts in its units.
    optimizer : {"adam", "adamw", "sgd"} or Optimizer, default "adam"
        An object is copied; its own learning rate counts.
    learning_rate : float or schedule, default 1e-2
        For an optimizer that is given by name. A number, here or in an optimizer, is what a fit begins with: it falls
        over the epochs along half a cosine (see Notes). A schedule is followed as it is. :meth:`partial_fit` keeps a
        number.
    epochs : int, default 10
        Most passes over the rows.
    batch_size : int, default 32
        Rows of a training step. A last batch of one row joins the one before it.
    early_stopping : bool, default False
        Whether to hold out `validation_fraction` of the rows, stop when the loss over them has not improved by `tol`
        for `n_iter_no_change` epochs, and return to the weights that were best.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 5
    tol : float, default 1e-4
    shuffle : bool, default True
        Whether each epoch has another order of the rows.
    impute : bool, default False
        Whether missing inputs are taken for the center of their column, and an input of zeros and ones is added for
        each column that has missing values in fit, which says where they were.
    embed : str, sequence of str, or None
        Columns of strings, each of which becomes `embedding_dim` inputs that are trained: one vector for each of
        `buckets` buckets of the strings' hashes.
    buckets : int, default 1000
    embedding_dim : int, default 8
    warm_start : bool, default False
        Whether :meth:`fit` goes on with the network, the optimizer's state and the scalers of the fit before. With a
        schedule as learning rate, two fits are then the same as one of all their epochs.
    dtype : {"float32", "float64"}, default "float32"
        Of the network. Scaling is done in float64 in any case.
    random_state : int, RandomState, Generator or None
        Where the seed comes from. With an int, the same data gives the same bits, for any `threads`.

    Attributes
    ----------
    network_ : Sequential
    features_ : FeatureMap
        What turns rows into the network's inputs.
    scaler_, target_scaler_ : scaler or None
        Fitted; on the training rows alone if some are held out.
    history_ : dict
        "loss" and, with early stopping, "val_loss": a list of one number for each epoch. They are losses of the scaled
        target: with target_scaler="standard" and the squared error, 1 is what predicting the mean costs.
    n_iter_ : int
        Number of epochs, those before a warm start included.
    n_features_in_ : int
    feature_names_in_ : ndarray of str objects
        Of the inputs, if they have names.
    target_names_ : list of str or None
    n_outputs_ : int

    Notes
    -----
    With a learning rate that is a number, a fit begins at it and ends near 0, and the last three tenths of the epochs
    (from four epochs on) train a network with batch normalization by its running statistics, which then stand still: it
    is trained as it predicts, without the noise of small batches. Neither happens in :meth:`partial_fit`, nor with a
    schedule.

    Rows in memory whose order is shuffled are first put in an order that depends on their values alone, so that the
    same rows in another order give the same model. Weights that are whole numbers count rows: one of weight 3 is
    trained on as if it were there three times, batch normalization included. Other weights multiply the loss. Rows of
    weight zero take no part in anything.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(0, 1e9, 200).reshape(-1, 1)
    >>> model = Regressor(epochs=30, random_state=0).fit(X, 3e9 - 2 * X[:, 0])
    >>> bool(model.score(X, 3e9 - 2 * X[:, 0]) > 0.98)
    True
    """

    network_: Sequential
    features_: Any
    scaler_: Any
    target_scaler_: Any
    history_: dict[str, list[float]]
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    target_names_: list[str] | None
    n_outputs_: int
    _seed: int

    def __init__(
        self,
        hidden: Sequence[int] | int = (64, 64),
        *,
        norm: str | None = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
        scaler: Any = "standard",
        target_scaler: Any = "standard",
        loss: Any = "mean_squared_error",
        optimizer: Any = "adam",
        learning_rate: Any = 1e-2,
        epochs: int = 10,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        shuffle: bool = True,
        impute: bool = False,
        embed: Names = None,
        buckets: int = 1000,
        embedding_dim: int = 8,
        warm_start: bool = False,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.norm = norm
        self.activation = activation
        self.dropout = dropout
        self.scaler = scaler
        self.target_scaler = target_scaler
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.shuffle = shuffle
        self.impute = impute
        self.embed = embed
        self.buckets = buckets
        self.embedding_dim = embedding_dim
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        target: Names = None,
        sample_weight: Any = None,
        columns: Names = None,
        exclude: Names = None,
        memory: str | int = "256MB",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit scalers and network, forgetting what was before unless ``warm_start`` is true.

        Parameters
        ----------
        X : data
            An array-like of shape (n_samples, n_features); a pyarrow Table or RecordBatch, a pandas or polars frame,
            anything with ``__arrow_c_stream__``, an iterator or list of those; or Parquet files, which are streamed in
            every epoch: a path, a list of paths, a glob, a folder, or a pyarrow Dataset.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
            The target, if it is not a column of X.
        target : str, sequence of str, or None
            The columns of X that are the target. Rows where it is missing are left out.
        sample_weight : array-like of shape (n_samples,), str, or None
            How much each row counts, or the name of the column that says it. A row whose weight is zero or missing is
            left out.
        columns, exclude : str, sequence of str, or None
            For named columns: the inputs (None: every integer, float and decimal column that is neither target nor
            weight), and which to leave out.
        memory : str or int, default "256MB"
            Bound of buffers while files are read.
        threads : int or None
            At most so many; the result does not depend on it.
        progress : callable or None
            Called as ``progress(epochs_done, epochs, losses)`` after each epoch, with a dict of "loss" and perhaps
            "val_loss".

        Returns
        -------
        self

        Raises
        ------
        DataError
            If there is no target, or it has no values, or is not numeric; if inputs are missing, infinite or not
            numeric; if there are too few rows.
        ValueError
            If a parameter is out of its domain.
        """
        self._fit(
            X, y, target, sample_weight, columns, exclude, memory, threads, progress, goes_on=bool(self.warm_start)
        )
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        target: Names = None,
        sample_weight: Any = None,
        columns: Names = None,
        exclude: Names = None,
        memory: str | int = "256MB",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Train for one pass over X. The first call fits the scalers, which later ones leave as they are.

        Parameters as for :meth:`fit`. Nothing is held out for early stopping.
        """
        self._fit(X, y, target, sample_weight, columns, exclude, memory, threads, progress, goes_on=True, passes=1)
        return self

    def _fit(
        self,
        X: Any,
        y: Any,
        target: Names,
        sample_weight: Any,
        columns: Names,
        exclude: Names,
        memory: str | int,
        threads: int | None,
        progress: Progress | None,
        *,
        goes_on: bool,
        passes: int | None = None,
    ) -> None:
        recipe = read_recipe(self, passes=passes)
        known = self._known(recipe) if goes_on and self.__sklearn_is_fitted__() else None
        seed = seed_of(self.random_state) if known is None else self._seed_again()
        scaling = self.scaler, self.target_scaler
        source = Source(X, y, as_names(target), sample_weight, columns, exclude, memory, threads, scaling)
        if kind_of(X) == "files":
            from ._regressor_files import material_of_files as read
        else:
            read = material_in_memory
        material = read(source, recipe, seed, known, type(self).__name__)
        if known is None:
            features, outputs = material.scaling.features, material.scaling.outputs
            network = make_network(recipe, features.width, outputs, seed, threads)
            optimizer = make_optimizer(self)
            run = Run(network, {}, 0, progress)
        else:  # a copy, so that nothing has changed if training fails
            network = copy.deepcopy(self.network_)
            optimizer = network.optimizer if network.optimizer is not None else make_optimizer(self)
            set_rate(optimizer, self)
            run = Run(network, self.history_, self.n_iter_, progress)
        network.compile(optimizer, recipe.loss, threads=threads)
        run.history = {name: list(values) for name, values in run.history.items()}
        train_network(run, material, recipe, settles=passes is None)
        self._adopt(run, material, recipe, seed)

    def _adopt(self, run: Run, material: Material, recipe: Recipe, seed: int) -> None:
        """Take what has been trained."""
        scaling = material.scaling
        self.network_, self.history_, self.n_iter_ = run.network, run.history, run.done
        self.features_, self.scaler_, self.target_scaler_ = scaling.features, scaling.scaler, scaling.target_scaler
        self.n_outputs_, self.target_names_ = scaling.outputs, scaling.target_names
        self.n_features_in_ = len(scaling.features.names)
        self.__dict__.pop("feature_names_in_", None)
        if scaling.named:
            self.feature_names_in_ = np.array(scaling.features.names, dtype=object)
        self._seed, self._structure = seed, recipe.structure

    def _known(self, recipe: Recipe) -> Scaling:
        """The scaling to go on with; ValueError if parameters ask for another network than there is."""
        if self.__dict__.get("_structure", recipe.structure) != recipe.structure:
            raise ValueError(
                "parameters of the network have changed since it was fitted, so that it cannot go on: set them back, "
                "or fit anew with warm_start=False"
            )
        return self._scaling()

    def _seed_again(self) -> int:
        """The seed of the fit before; a model that was loaded gets one."""
        return self.__dict__["_seed"] if "_seed" in self.__dict__ else seed_of(self.random_state)

    def predict(self, X: Any, *, memory: str | int = "256MB", threads: int | None = None) -> np.ndarray:
        """Predict the target.

        Parameters
        ----------
        X : data
            As for :meth:`fit`. Named columns are matched by name, in any order, and others are ignored. Files are
            streamed.
        memory, threads
            As for :meth:`fit`.

        Returns
        -------
        float64 array of shape (n_samples,), or (n_samples, n_outputs) if there is more than one

        Raises
        ------
        NotFittedError
            If it was not fitted.
        DataError
            If a column is missing or not numeric, a value is missing or infinite, or the width is another.
        """
        self._check_fitted()
        scaling = self._scaling()
        owner = type(self).__name__
        if kind_of(X) == "files":
            from ._regressor_files import inputs_in_files

            pieces = inputs_in_files(X, scaling, memory, threads, owner)
        else:
            inputs = inputs_like(frame_or_matrix(X, owner), scaling, owner)
            pieces = (inputs_of(piece, scaling.features) for piece in in_chunks(inputs))
        found = [own_units(self.network_.predict(x), scaling.target_scaler) for x in pieces]
        if not found:
            return np.empty(0 if self.n_outputs_ == 1 else (0, self.n_outputs_))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _scaling(self) -> Scaling:
        named = "feature_names_in_" in self.__dict__
        return Scaling(self.features_, self.scaler_, self.target_scaler_, self.n_outputs_, self.target_names_, named)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None, *, target: Names = None) -> float:
        """The coefficient of determination, R^2, of the predictions; with several targets the mean of theirs.

        Parameters
        ----------
        X, y, target
            As for :meth:`fit`; without y and target, the target is the columns of X that the model was fitted to.
        sample_weight : array-like of shape (n_samples,), str, or None
        """
        self._check_fitted()
        names = as_names(target) if target is not None or y is not None else self.target_names_
        source = Source(X, y, names, sample_weight, None, None, "256MB", None)
        if kind_of(X) == "files":
            from ._regressor_files import rows_of_files as read
        else:
            read = rows_in_memory
        scaling = self._scaling()
        truth, guess, weight = [], [], []
        for x, goal, weights in read(source, scaling, type(self).__name__):
            truth.append(goal)
            guess.append(own_units(self.network_.predict(x), scaling.target_scaler).reshape(len(goal), -1))
            weight.append(weights)
        if not truth:
            raise DataError("there is no row with a target to score the predictions by")
        return r_squared(np.concatenate(truth), np.concatenate(guess), np.concatenate(weight))

    def save(self, path: Any, *, overwrite: bool = False) -> None:
        """Write the model to one file, which :func:`streamnorm.load` reads.

        Parameters
        ----------
        path : path
        overwrite : bool, default False
            Whether the file may be there already.
        """
        self._check_fitted()
        from ._model_file import save

        save(self, path, overwrite=overwrite)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with deep, also ``scaler__parameter`` and ``target_scaler__parameter``."""
        params = super().get_params(deep=False)
        if deep:
            for name, value in self._nested().items():
                params |= {f"{name}__{key}": each for key, each in value.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, ``scaler__parameter`` for those of a scaler inside."""
        known = self._param_names()
        super().set_params(**{name: value for name, value in params.items() if "__" not in name})
        nested = self._nested()
        for name, value in params.items():
            prefix, separator, key = name.partition("__")
            if not separator:
                continue
            if prefix not in nested:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: {list(known)!r}."
                )
            nested[prefix].set_params(**{key: value})
        return self

    def _nested(self) -> dict[str, Any]:
        pairs = {name: getattr(self, name) for name in ("scaler", "target_scaler")}
        return {name: value for name, value in pairs.items() if isinstance(value, BaseScaler)}

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(allow_nan=bool(self.impute is True)),
        )
