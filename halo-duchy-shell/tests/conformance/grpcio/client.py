"""Drives every RPC of a duchy and of the development Kingdom, as a client that is not ours: grpcio, with message classes
made from the descriptors that `halo-duchy descriptors` wrote, or from those of upstream's .proto files, which lack the RPCs
that only our internal API has.

Reads what it needs to know as JSON from standard input, and prints each RPC that answered as it should, one a line.
"""

import hashlib
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

API = "wfa.measurement.api.v2alpha"
SYSTEM = "wfa.measurement.system.v1alpha"
INTERNAL = "wfa.measurement.internal.duchy"
DEV_KINGDOM = "halo.dev.kingdom.v1.DevKingdom"

LLV2 = "liquid_legions_sketch_aggregation_v2"
INITIALIZATION, WAIT_KEYS, CONFIRMATION, WAIT_SETUP, SETUP, COMPLETE = 1, 2, 3, 5, 6, 13
ADD_UNCLAIMED_TO_QUEUE, DO_NOT_ADD_TO_QUEUE = 2, 3
INPUT, OUTPUT = 1, 2
AGGREGATOR = 1
DUCHIES = ["aggregator", "worker1", "worker2"]
NONCES = {"edp1": 11, "edp2": 12}

config = json.load(sys.stdin)
pool = descriptor_pool.DescriptorPool()
with open(config["descriptors"], "rb") as file:
    for proto in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
        pool.Add(proto)


def known(method):
    """Whether the descriptors have this RPC of the internal API."""
    try:
        return pool.FindMethodByName(f"{INTERNAL}.{method}") is not None
    except KeyError:
        return False


def message(full_name, /, **fields):
    """A message, by its full name."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))(**fields)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Party:
    """Somebody with a certificate."""

    def __init__(self, name):
        self.credentials = grpc.ssl_channel_credentials(
            read(config["root"]), read(f"{config['pki']}/{name}_tls.key"), read(f"{config['pki']}/{name}_tls.pem")
        )
        self.channels = {}

    def call(self, server, method, request, code=grpc.StatusCode.OK):
        """Calls `method` (its full name), which must end with `code`; prints it, and returns the answer."""
        if server not in self.channels:
            options = [("grpc.ssl_target_name_override", "localhost")]
            self.channels[server] = grpc.secure_channel(config["servers"][server], self.credentials, options)
        found = pool.FindMethodByName(method)
        answer = message_factory.GetMessageClass(found.output_type)
        sides = [("unary", "stream")[side] for side in (found.client_streaming, found.server_streaming)]
        service, _, name = method.rpartition(".")
        call = getattr(self.channels[server], "_".join(sides))(
            f"/{service}/{name}",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        sent = request if not found.client_streaming else iter(request)
        try:
            result = call(sent, timeout=20)
            # A stream of computations does not end by itself.
            result = next(result) if found.server_streaming else result
            status = grpc.StatusCode.OK
        except grpc.RpcError as error:
            result, status = error, error.code()
        if status != code:
            sys.exit(f"{method}: {status}, not {code}: {result}")
        print(method if code == grpc.StatusCode.OK else f"refused {method}", flush=True)
        return result


parties = {name: Party(name) for name in [*DUCHIES, "edp1", "edp2", "mc", "kingdom"]}
consumer, duchy = parties["mc"], parties[config["duchy"]]


def internal(method, /, **fields):
    """Calls an RPC of the internal API, as the duchy."""
    service, _, name = method.rpartition(".")
    request = pool.FindMethodByName(f"{INTERNAL}.{method}").input_type.full_name
    server = "async" if service == "AsyncComputationControl" else "internal"
    return duchy.call(server, f"{INTERNAL}.{method}", message(request, **fields))


def create_measurement():
    """A measurement of the reach of both data providers; its name."""
    hashes = {edp: hashlib.sha256(nonce.to_bytes(8, "big")).digest() for edp, nonce in NONCES.items()}
    spec = message(
        f"{API}.MeasurementSpec",
        nonce_hashes=list(hashes.values()),
        vid_sampling_interval={"start": 0, "width": 1},
        reach={"privacy_params": {"epsilon": 1, "delta": 1e-5}},
        serialized_measurement_public_key=b"key",
    )
    measurement = message(
        f"{API}.Measurement",
        measurement_consumer_certificate="measurementConsumers/mc/certificates/1",
        measurement_spec={"data": spec.SerializeToString(), "signature": b"signature"},
        data_providers=[
            {
                "key": f"dataProviders/{edp}",
                "value": {
                    "data_provider_certificate": f"dataProviders/{edp}/certificates/1",
                    "nonce_hash": nonce_hash,
                    "encrypted_requisition_spec": {"ciphertext": edp.encode()},
                },
            }
            for edp, nonce_hash in hashes.items()
        ],
    )
    request = message(f"{API}.CreateMeasurementRequest", parent="measurementConsumers/mc", measurement=measurement)
    return consumer.call("kingdom", f"{API}.Measurements.CreateMeasurement", request).name


def measurement_state(name):
    request = message(f"{API}.GetMeasurementRequest", name=name)
    return consumer.call("kingdom", f"{API}.Measurements.GetMeasurement", request).state


def active_computation(token=""):
    request = message(f"{SYSTEM}.StreamActiveComputationsRequest", continuation_token=token)
    answer = duchy.call("kingdom", f"{SYSTEM}.Computations.StreamActiveComputations", request)
    return answer.computation, answer.continuation_token


def participant(method, computation, name, /, **fields):
    fields["name"] = f"{computation}/participants/{name}"
    request = message(f"{SYSTEM}.{method}Request", **fields)
    return parties[name].call("kingdom", f"{SYSTEM}.ComputationParticipants.{method}", request)


def set_params(computation):
    for name in DUCHIES:
        etag = participant("GetComputationParticipant", computation, name).etag
        key = {"el_gamal_public_key": b"key", "el_gamal_public_key_signature": b"signature"}
        params = {"duchy_certificate": f"duchies/{name}/certificates/1", "liquid_legions_v2": key}
        participant("SetParticipantRequisitionParams", computation, name, requisition_params=params, etag=etag)


def requisitions(edp, measurement):
    request = message(f"{API}.ListRequisitionsRequest", parent=f"dataProviders/{edp}")
    answer = parties[edp].call("kingdom", f"{API}.Requisitions.ListRequisitions", request)
    return [requisition for requisition in answer.requisitions if requisition.measurement == measurement]


def create_computation(computation):
    """The duchy's row of a computation of the Kingdom; its token."""
    fingerprint = lambda requisition: hashlib.sha256(
        computation.measurement_spec + requisition.requisition_spec_hash
    ).digest()
    created = internal(
        "Computations.CreateComputation",
        computation_type=1,
        global_computation_id=computation.name.removeprefix("computations/"),
        computation_stage={LLV2: INITIALIZATION},
        computation_details={
            "kingdom_computation": {
                "public_api_version": computation.public_api_version,
                "measurement_spec": computation.measurement_spec,
                "participant_count": 3,
            },
            "liquid_legions_v2": {
                "role": AGGREGATOR,
                "parameters": {"elliptic_curve_id": 415, "sketch_parameters": {"size": 100}},
            },
        },
        requisitions=[
            {
                "key": {
                    "external_requisition_id": requisition.name.rpartition("/")[2],
                    "requisition_fingerprint": fingerprint(requisition),
                },
                "value": {"nonce_hash": requisition.nonce_hash},
            }
            for requisition in computation.requisitions
        ],
    )
    return created.token


def fulfill(edp, requisition, token, nonce, code=grpc.StatusCode.OK):
    keys = {found.external_key.external_requisition_id: found.external_key for found in token.requisitions}
    key = keys[requisition.name.rpartition("/")[2]]
    header = {
        "name": requisition.name,
        "requisition_fingerprint": key.requisition_fingerprint,
        "nonce": nonce,
        "fulfillment_context": {"build_label": "grpcio"},
    }
    # A sketch without registers is a sketch.
    request = [message(f"{API}.FulfillRequisitionRequest", header=header)]
    method = f"{API}.RequisitionFulfillment.FulfillRequisition"
    answer = parties[edp].call("fulfillment", method, request, code)
    assert code != grpc.StatusCode.OK or answer.state == 2, answer


def claim():
    lock = {"seconds": 60}
    claimed = internal("Computations.ClaimWork", computation_type=1, owner="grpcio", lock_duration=lock)
    assert claimed.token.lock_owner == "grpcio", claimed
    return claimed.token


def advance(token, stage, after, /, **fields):
    request = {"token": token, "next_computation_stage": {LLV2: stage}, "after_transition": after, **fields}
    return internal("Computations.AdvanceComputationStage", **request).token


def to_setup_phase(token, computation):
    """Takes the duchy's row from its creation to the setup phase, as its herald, its mill and its peers would."""
    if known("Computations.AwaitWork"):
        assert internal("Computations.AwaitWork", timeout={"seconds": 9}).seen > 0
    claimed = claim()
    if known("Computations.ExtendWorkLock"):
        extended = internal("Computations.ExtendWorkLock", token=claimed, lock_duration={"seconds": 120}).token
        assert extended.version == claimed.version
    stat = {"local_computation_id": token.local_computation_id, "computation_stage": {LLV2: INITIALIZATION}}
    stat.update(attempt=1, metric_name="crypto_wall_clock_duration_ms", metric_value=7)
    internal("ComputationStats.CreateComputationStat", **stat)
    waiting = advance(claimed, WAIT_KEYS, DO_NOT_ADD_TO_QUEUE)
    details = waiting.computation_details
    for name in ["worker1", "worker2", "aggregator"]:
        details.liquid_legions_v2.participant.add(duchy_id=name)
    updated = internal("Computations.UpdateComputationDetails", token=waiting, details=details).token
    advance(updated, CONFIRMATION, ADD_UNCLAIMED_TO_QUEUE)
    confirming = claim()
    internal("Computations.EnqueueComputation", token=confirming, expected_owner="grpcio")
    confirming = claim()
    assert confirming.attempt == 2, confirming
    slots = {"wait_setup_phase_inputs_details": {"external_duchy_local_blob_id": {"worker1": 0, "worker2": 1}}}
    details = {"stage_details": {"liquid_legions_v2": slots}, "outputBlobs": 2}
    # The sketches of the requisitions are no blobs of the stage.
    advance(confirming, WAIT_SETUP, DO_NOT_ADD_TO_QUEUE, **details)

    slot = internal(
        "AsyncComputationControl.GetOutputBlobMetadata",
        global_computation_id=token.global_computation_id,
        data_origin="worker1",
    )
    assert (slot.dependency_type, slot.path) == (OUTPUT, ""), slot
    internal(
        "AsyncComputationControl.AdvanceComputation",
        global_computation_id=token.global_computation_id,
        computation_stage={LLV2: WAIT_SETUP},
        blob_id=slot.blob_id,
        blob_path="a/blob",
    )
    header = {"name": computation.name, "liquid_legions_v2": {"description": 1}}
    sketch = [{"header": header}, {"body_chunk": {"partial_data": b"sk"}}, {"body_chunk": {"partial_data": b"etch"}}]
    parties["worker2"].call(
        "control",
        f"{SYSTEM}.ComputationControl.AdvanceComputation",
        [message(f"{SYSTEM}.AdvanceComputationRequest", **part) for part in sketch],
    )
    request = message(
        f"{SYSTEM}.GetComputationStageRequest", name=f"{computation.name}/participants/{config['duchy']}/stage"
    )
    stage = parties["worker1"].call("control", f"{SYSTEM}.ComputationControl.GetComputationStage", request)
    assert stage.liquid_legions_v2_stage.stage == SETUP, stage


def end(token):
    """Takes the row from the setup phase to its end, and away."""
    claimed = claim()
    assert [blob.dependency_type for blob in claimed.blobs] == [INPUT, INPUT, OUTPUT], claimed
    record = {"token": claimed, "output_blob_id": claimed.blobs[2].blob_id, "blob_path": "b/blob"}
    recorded = internal("Computations.RecordOutputBlobPath", **record).token
    assert recorded.blobs[2].path == "b/blob", recorded
    ending = {LLV2: COMPLETE}
    finished = internal("Computations.FinishComputation", token=recorded, ending_computation_stage=ending, reason=1)
    assert finished.token.computation_details.ending_state == 1, finished
    ids = internal("Computations.GetComputationIds", stages=[ending]).global_ids
    assert list(ids) == [token.global_computation_id], ids
    purged = internal("Computations.PurgeComputations", updated_before={"seconds": 1}, stages=[ending], force=True)
    assert purged.purge_count == 0, purged
    day = {"seconds": 86400}
    swept = internal("Computations.SweepBlobs", intermediate_ttl=day, orphan_ttl=day, force=True)
    assert swept.kept == 0, swept
    internal("Computations.DeleteComputation", local_computation_id=token.local_computation_id)
    assert not internal("Computations.GetComputationIds", stages=[ending]).global_ids


def whole_measurement():
    """From the consumer's request to the result, each step by whoever takes it."""
    name = create_measurement()
    assert measurement_state(name) == 1
    computation, token = active_computation()
    internal("ContinuationTokens.setContinuationToken", token=token)
    assert internal("ContinuationTokens.getContinuationToken").token == token
    set_params(computation.name)
    row = create_computation(computation)
    key = {"requisition_key": row.requisitions[0].external_key}
    assert internal("Computations.GetComputationToken", **key).token == row
    for edp in ("edp1", "edp2"):
        (requisition,) = requisitions(edp, name)
        fulfill(edp, requisition, row, 99, grpc.StatusCode.FAILED_PRECONDITION)
        fulfill(edp, requisition, row, NONCES[edp])
        (requisition,) = requisitions(edp, name)
        assert requisition.state == 2, requisition
    to_setup_phase(row, computation)
    end(row)
    for duchy_name in DUCHIES:
        participant("ConfirmComputationParticipant", computation.name, duchy_name)
    entry = {"participant_child_reference_id": "grpcio", "log_message": "hello"}
    parent = f"{computation.name}/participants/{config['duchy']}"
    request = message(f"{SYSTEM}.CreateComputationLogEntryRequest", parent=parent, computation_log_entry=entry)
    duchy.call("kingdom", f"{SYSTEM}.ComputationLogEntries.CreateComputationLogEntry", request)
    request = message(
        f"{SYSTEM}.SetComputationResultRequest",
        name=computation.name,
        aggregator_certificate="duchies/aggregator/certificates/1",
        encrypted_result=b"result",
        public_api_version="v2alpha",
    )
    duchy.call("kingdom", f"{SYSTEM}.Computations.SetComputationResult", request)
    request = message(f"{SYSTEM}.GetComputationRequest", name=computation.name)
    found = duchy.call("kingdom", f"{SYSTEM}.Computations.GetComputation", request)
    assert found.encrypted_result == b"result", found
    assert measurement_state(name) == 3


def pending_measurement():
    """A measurement that awaits its requisitions, and its computation as it was before."""
    name = create_measurement()
    token, computation = "", None
    while computation is None or computation.state != 1:
        computation, token = active_computation(token)
    set_params(computation.name)
    return name, computation


def failed_measurements():
    """One that a data provider refuses, and one that a duchy fails."""
    name, _ = pending_measurement()
    (requisition,) = requisitions("edp1", name)
    refusal = {"justification": 5, "message": "not today"}
    request = message(f"{API}.RefuseRequisitionRequest", name=requisition.name, refusal=refusal)
    parties["edp1"].call("kingdom", f"{API}.Requisitions.RefuseRequisition", request)
    assert measurement_state(name) == 4

    name, computation = pending_measurement()
    row = create_computation(computation)
    (requisition,) = requisitions("edp2", name)
    identifier = requisition.name.rpartition("/")[2]
    request = message(
        f"{SYSTEM}.FulfillRequisitionRequest", name=f"{computation.name}/requisitions/{identifier}", nonce=NONCES["edp2"]
    )
    duchy.call("kingdom", f"{SYSTEM}.Requisitions.FulfillRequisition", request)
    internal(
        "Computations.RecordRequisitionFulfillment",
        token=row,
        key=row.requisitions[0].external_key,
        blob_path="c/blob",
        public_api_version="v2alpha",
    )
    failure = {"participant_child_reference_id": "grpcio", "error_message": "as told"}
    participant("FailComputationParticipant", computation.name, config["duchy"], failure=failure)
    assert measurement_state(name) == 4


def dev_kingdom(method, /, **fields):
    """Calls an RPC of the development Kingdom's own service, as the Kingdom."""
    request = pool.FindMethodByName(f"{DEV_KINGDOM}.{method}").input_type.full_name
    return parties["kingdom"].call("kingdom", f"{DEV_KINGDOM}.{method}", message(request, **fields))


def administration():
    """What is left of the measurements, and all that the Kingdom can be told."""
    name, computation = pending_measurement()
    assert dev_kingdom("DescribeMeasurement", name=name).computation.name == computation.name
    assert dev_kingdom("CancelMeasurement", name=name).state == 7
    assert len(dev_kingdom("ListMeasurements").measurements) == 4
    assert not dev_kingdom("ExpireMeasurements", time_to_live={"seconds": 0}).measurements
    assert len(dev_kingdom("PurgeMeasurements", time_to_live={"seconds": 0}).measurements) == 4
    sketch = {"sketch_params": {"decay_rate": 12, "max_size": 100}, "noise_mechanism": 1}
    sketch["mpc_noise"] = {kind: {"epsilon": 1, "delta": 1} for kind in ("blinded_histogram_noise", "publisher_noise")}
    protocol = {"parameters": {"liquid_legions_v2": sketch}, "sampling_indicator_size": 9}
    dev_kingdom("PlanMeasurement", parent="measurementConsumers/mc", request_id="later", protocol=protocol)
    dev_kingdom("ListViolations")
    fault = {"method": "GetCertificate", "calls": 1, "refuse": {"code": 14}}
    fault = dev_kingdom("InjectFault", fault=fault)
    assert list(dev_kingdom("ListFaults").faults) == [fault]
    assert dev_kingdom("ClearFaults", ids=[fault.id]).cleared == 1


whole_measurement()
failed_measurements()
administration()
name = "dataProviders/edp1/certificates/1"
request = message(f"{API}.GetCertificateRequest", name=name)
assert duchy.call("kingdom", f"{API}.Certificates.GetCertificate", request).x509_der
