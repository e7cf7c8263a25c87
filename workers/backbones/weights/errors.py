"""What can go wrong with weights."""


class WeightsError(RuntimeError):
    """Weights are missing, cannot be brought, or are not what they should be; says what to do."""


class MissingWeightsError(WeightsError):
    """Files are not on this machine; says which command brings them."""


class HubUnreachableError(WeightsError):
    """No answer came from the hub, or it broke off."""


class HubRefusedError(WeightsError):
    """The hub does not have the weights, or does not give them to this user."""
