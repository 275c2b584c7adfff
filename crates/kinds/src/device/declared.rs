//! The declared rules of devices.

use crate::declared::Step::{
    self, Field, Immutable, Is, Items, Keys, Max, MaxBytes, MaxItems, MaxLength, Min, NoModify, OneOf, Optional,
    OptionalPointer, Required, RequiredPointer, Union, Unique, Values,
};
use crate::declared::format;

const EFFECTS: Step = OneOf(&["NoExecute", "NoSchedule", "None"]);
const DRIVER: &[Step] = &[Required, Is(format::long_name_caseless), MaxLength(63)];
const TOLERATIONS: Step = Field(
    "tolerations",
    &[
        Optional,
        Items(
            &[],
            &[
                Field("key", &[Optional, Is(format::label_key)]),
                Field("operator", &[Required, OneOf(&["Equal", "Exists"])]),
                Field("effect", &[Optional, EFFECTS]),
            ],
        ),
    ],
);
const SELECTORS: Step = Field("selectors", &[Optional, MaxItems(32)]);
const MODE: Step = Field("allocationMode", &[Optional, OneOf(&["All", "ExactCount"])]);
const ALTERNATIVES: Step = Field(
    "firstAvailable",
    &[
        Optional,
        MaxItems(8),
        Unique(&["name"]),
        Items(&["name"], &[Field("deviceClassName", &[Required, Is(format::long_name)]), SELECTORS, MODE, TOLERATIONS]),
    ],
);
/// Names of requests.
const NAMES: Step = Field("requests", &[Optional, MaxItems(32), Unique(&[])]);
const OPAQUE: Step = Field("opaque", &[OptionalPointer, Field("driver", DRIVER)]);
const CONSTRAINTS: Step = Field(
    "constraints",
    &[Optional, MaxItems(32), Items(&[], &[NAMES, Field("matchAttribute", &[OptionalPointer, Is(format::attribute)])])],
);
const CONFIG: Step = Field("config", &[Optional, MaxItems(32), Items(&[], &[NAMES, OPAQUE])]);
const BINDING: [Step; 2] =
    [Field("bindingConditions", &[Optional, MaxItems(4)]), Field("bindingFailureConditions", &[Optional, MaxItems(4)])];
const SHARE: Step = Field("shareID", &[OptionalPointer, Is(format::uuid)]);
const RESULTS: Step = Field(
    "results",
    &[
        Optional,
        MaxItems(32),
        Items(
            &[],
            &[
                Field("driver", DRIVER),
                Field("pool", &[Required, Is(format::pool)]),
                TOLERATIONS,
                BINDING[0],
                BINDING[1],
                SHARE,
            ],
        ),
    ],
);
const SOURCE: Step = Field("source", &[Required, OneOf(&["FromClaim", "FromClass"])]);
const NETWORK: Step = Field(
    "networkData",
    &[
        OptionalPointer,
        Field("interfaceName", &[Optional, MaxBytes(256)]),
        Field("ips", &[Optional, MaxItems(16), Unique(&[])]),
        Field("hardwareAddress", &[Optional, MaxBytes(128)]),
    ],
);
const ID: &[&str] = &["driver", "pool", "device", "shareID"];
const STATUS: Step = Field(
    "status",
    &[
        Field(
            "allocation",
            &[
                OptionalPointer,
                NoModify,
                Field(
                    "devices",
                    &[RESULTS, Field("config", &[Optional, MaxItems(64), Items(&[], &[SOURCE, NAMES, OPAQUE])])],
                ),
            ],
        ),
        Field("reservedFor", &[Optional, MaxItems(256), Unique(&["uid"])]),
        Field("devices", &[Optional, Unique(ID), Items(ID, &[SHARE, NETWORK])]),
    ],
);

/// Of a claim whose requests have these rules.
macro_rules! claim {
    ($request:expr) => {
        &[
            Field(
                "spec",
                &[
                    Immutable,
                    Field(
                        "devices",
                        &[
                            Field("requests", &[Optional, MaxItems(32), Unique(&["name"]), Items(&["name"], $request)]),
                            CONSTRAINTS,
                            CONFIG,
                        ],
                    ),
                ],
            ),
            STATUS,
        ]
    };
}

pub(super) const CLAIM: &[Step] =
    claim!(&[Field("exactly", &[OptionalPointer, SELECTORS, MODE, TOLERATIONS]), ALTERNATIVES]);
/// In the shape of v1beta1.
pub(super) const OLD_CLAIM: &[Step] = claim!(&[SELECTORS, MODE, ALTERNATIVES, TOLERATIONS]);

pub(super) const CLASS: &[Step] = &[Field(
    "spec",
    &[
        SELECTORS,
        Field("config", &[Optional, MaxItems(32), Items(&[], &[OPAQUE])]),
        Field("extendedResourceName", &[OptionalPointer, Is(format::extended_resource)]),
    ],
)];

const COUNTERS: Step = Field("counters", &[Required, Keys(format::short_name)]);
const DEVICE: &[Step] = &[
    Field(
        "attributes",
        &[Optional, Values(&[Union(&["int", "bool", "string", "version", "ints", "bools", "strings", "versions"])])],
    ),
    Field(
        "consumesCounters",
        &[
            Optional,
            MaxItems(2),
            Unique(&["counterSet"]),
            Items(&["counterSet"], &[Field("counterSet", &[Required, Is(format::short_name)]), COUNTERS]),
        ],
    ),
    Field("taints", &[Optional, Items(&[], &[TAINT_EFFECT])]),
    BINDING[0],
    BINDING[1],
];
const TAINT_EFFECT: Step = Field("effect", &[Required, EFFECTS]);
const SHARED: Step = Field(
    "sharedCounters",
    &[
        Optional,
        MaxItems(8),
        Unique(&["name"]),
        Items(&["name"], &[Field("name", &[Required, Is(format::short_name)]), COUNTERS]),
    ],
);
pub(super) const SLICE: &[Step] = &[Field("spec", &[Field("devices", &[Optional, Items(&[], DEVICE)]), SHARED])];
/// In the shape of v1beta1.
pub(super) const OLD_SLICE: &[Step] =
    &[Field("spec", &[Field("devices", &[Optional, Items(&[], &[Field("basic", DEVICE)])]), SHARED])];

const COUNT: &[Step] = &[OptionalPointer, Min(0)];
const POOL: &[Step] = &[
    Field("driver", &[Required, Is(format::long_name_caseless)]),
    Field("poolName", &[Required, Is(format::pool)]),
    Field("generation", &[Required, Min(0)]),
    Field("resourceSliceCount", &[OptionalPointer, Min(1)]),
    Field("totalDevices", COUNT),
    Field("allocatedDevices", COUNT),
    Field("availableDevices", COUNT),
    Field("unavailableDevices", COUNT),
    Field("nodeName", &[OptionalPointer, Is(format::long_name)]),
    Field("validationError", &[OptionalPointer, MaxBytes(256)]),
];
/// Of a request for the status of pools.
pub(super) const POOLS: &[Step] = &[
    Field(
        "spec",
        &[
            Immutable,
            Field("driver", &[Required, Is(format::long_name_caseless)]),
            Field("poolName", &[OptionalPointer, Is(format::pool)]),
            Field("limit", &[RequiredPointer, Max(1000), Min(1)]),
        ],
    ),
    Field(
        "status",
        &[
            OptionalPointer,
            Field("poolCount", &[RequiredPointer, Min(0)]),
            Field("pools", &[MaxItems(1000), Optional, Items(&[], POOL)]),
            Field("conditions", &[MaxItems(10), Optional, Unique(&["type"])]),
        ],
    ),
];
