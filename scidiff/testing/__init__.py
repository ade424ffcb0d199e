"""The public test kit: exact oracles, and the laws that any process, schedule, rule or noise source must satisfy.

Nothing here samples: laws are computed, by feeding a sampler chosen noise and following every branch. Each ``check_*`` raises
AssertionError that names the law, the place and the numbers. The laws are numbered as in the design:

1. exact law of samplers on Gaussian data, and the order at which it is approached (:func:`check_gaussian_order`);
2. exact law of samplers on labels (:func:`check_label_order`, :func:`check_branches`);
3. the ELBO of the exact posterior is the entropy of the data (:func:`check_label_identity`, :func:`check_gaussian_identity`);
4. guidance against exact posteriors (:func:`check_classifier_free`, :func:`check_measurement`);
5. a sample depends on (seed, id) alone (:func:`check_streams`, :func:`check_sampler_locality`);
6. a training that is killed and continued equals one that was not, to the bit (:func:`check_resume`, which does kill real processes).

:func:`check_process`, :func:`check_schedule` and :func:`check_rule` run what concerns one part.
"""

from scidiff.testing.affine import Moments, Setting, law_by_steps, law_of_sampler
from scidiff.testing.chains import Chain, check_branches, exact_law, states, total_variation
from scidiff.testing.conformance import check_process, check_rule
from scidiff.testing.guidance import Measured, check_classifier_free, check_measurement, some_measurements
from scidiff.testing.identities import (
    check_gaussian_identity,
    check_label_identity,
    entropy,
    gaussian_elbo,
    gaussian_information,
    label_elbo,
    label_information,
)
from scidiff.testing.kill_report import KillReport
from scidiff.testing.kill_run import check_resume
from scidiff.testing.labels import check_label_process
from scidiff.testing.locality import EntrywiseOracle, check_sampler_locality, check_streams
from scidiff.testing.noise import GivenFieldNoise, GivenNoise, RecordingNoise, drawn_law
from scidiff.testing.oracles import CategoricalOracle, GaussianData, GaussianOracle, MixtureOracle, ProductOracle, projection_matrix
from scidiff.testing.orders import (
    FIRST_ORDER,
    LABEL_ORDER,
    SECOND_ORDER,
    centred_gaussians,
    check_gaussian_order,
    check_label_order,
    even_grid,
    gaussian_order,
    label_order,
    order,
    plain_gaussians,
    plain_labels,
)
from scidiff.testing.reals import check_real_process
from scidiff.testing.schedules import check_schedule, keeps_labels

__all__ = [
    "FIRST_ORDER",
    "LABEL_ORDER",
    "SECOND_ORDER",
    "CategoricalOracle",
    "Chain",
    "EntrywiseOracle",
    "GaussianData",
    "GaussianOracle",
    "GivenFieldNoise",
    "GivenNoise",
    "KillReport",
    "Measured",
    "MixtureOracle",
    "Moments",
    "ProductOracle",
    "RecordingNoise",
    "Setting",
    "centred_gaussians",
    "check_branches",
    "check_classifier_free",
    "check_gaussian_identity",
    "check_gaussian_order",
    "check_label_identity",
    "check_label_order",
    "check_label_process",
    "check_measurement",
    "check_process",
    "check_real_process",
    "check_resume",
    "check_rule",
    "check_sampler_locality",
    "check_schedule",
    "check_streams",
    "drawn_law",
    "entropy",
    "even_grid",
    "exact_law",
    "gaussian_elbo",
    "gaussian_information",
    "gaussian_order",
    "keeps_labels",
    "label_elbo",
    "label_information",
    "label_order",
    "law_by_steps",
    "law_of_sampler",
    "order",
    "plain_gaussians",
    "plain_labels",
    "projection_matrix",
    "some_measurements",
    "states",
    "total_variation",
]
