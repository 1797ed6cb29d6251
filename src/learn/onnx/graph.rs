//! Builds a graph node by node: names that are never taken twice, constants that are stored once.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The operator set of tree ensembles and label encoders.
pub(super) const ML: &str = "ai.onnx.ml";

/// A graph that is being built.
pub(super) struct Graph {
    graph: GraphProto,
    taken: BTreeSet<String>,
    /// Names of constants by their contents.
    constants: BTreeMap<(i32, Vec<i64>, Vec<u8>), String>,
}

impl Graph {
    /// A graph whose inputs and outputs will have these names, which nothing else may take.
    pub fn new(name: &str, reserved: impl IntoIterator<Item = String>) -> Self {
        Graph {
            graph: GraphProto {
                name: name.to_owned(),
                ..GraphProto::default()
            },
            taken: reserved.into_iter().collect(),
            constants: BTreeMap::new(),
        }
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, stem: &str) -> String {
        let mut n = 0;
        loop {
            let name = format!("{stem}_{n}");
            if self.taken.insert(name.clone()) {
                return name;
            }
            n = self.taken.len().max(n + 1);
        }
    }

    /// Adds an input of one value per row.
    pub fn input(&mut self, name: &str, holds: DataType, doc: &str) {
        self.graph.input.push(rank_1(name, holds, doc));
    }

    /// Adds an output of one value per row.
    pub fn output(&mut self, name: &str, holds: DataType, doc: &str) {
        self.graph.output.push(rank_1(name, holds, doc));
    }

    /// Adds an operation and gives the name of what it makes.
    pub fn op(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = self.fresh(operator);
        self.op_to(domain, operator, inputs, attributes, &output);
        output
    }

    /// Adds an operation that makes the value of this name.
    pub fn op_to(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        output: &str,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("make {output}"),
            op_type: operator.to_owned(),
            attribute: attributes,
            domain: domain.to_owned(),
        });
    }

    /// The name of a constant of 64-bit floats. `dims` empty: a single number.
    pub fn doubles(&mut self, dims: &[i64], numbers: &[f64]) -> String {
        self.constant(doubles(dims, numbers))
    }

    /// The name of a constant of whole numbers. `dims` empty: a single number.
    pub fn ints(&mut self, dims: &[i64], numbers: &[i64]) -> String {
        self.constant(ints(dims, numbers))
    }

    /// The name of a constant list of texts.
    pub fn texts(&mut self, texts: &[String]) -> String {
        self.constant(TensorProto {
            dims: vec![texts.len() as i64],
            data_type: DataType::String as i32,
            string_data: texts.iter().map(|t| t.as_bytes().to_vec()).collect(),
            ..TensorProto::default()
        })
    }

    fn constant(&mut self, mut tensor: TensorProto) -> String {
        // Texts are few; only numbers are looked up.
        let key = (
            tensor.data_type,
            tensor.dims.clone(),
            tensor.raw_data.clone(),
        );
        if tensor.string_data.is_empty()
            && let Some(name) = self.constants.get(&key)
        {
            return name.clone();
        }
        tensor.name = self.fresh("constant");
        let name = tensor.name.clone();
        if tensor.string_data.is_empty() {
            self.constants.insert(key, name.clone());
        }
        self.graph.initializer.push(tensor);
        name
    }

    /// The finished graph.
    pub fn finish(self) -> GraphProto {
        self.graph
    }
}

fn rank_1(name: &str, holds: DataType, doc: &str) -> ValueInfoProto {
    let rows = DimensionProto {
        dim_param: "N".to_owned(),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: holds as i32,
                shape: Some(TensorShapeProto { dim: vec![rows] }),
            }),
        }),
        doc_string: doc.to_owned(),
    }
}

/// A nameless tensor of 64-bit floats.
pub(super) fn doubles(dims: &[i64], numbers: &[f64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: DataType::Double as i32,
        raw_data: numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A nameless tensor of whole numbers.
pub(super) fn ints(dims: &[i64], numbers: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        raw_data: numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A nameless list of bytes.
pub(super) fn bytes(numbers: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: vec![numbers.len() as i64],
        data_type: DataType::Uint8 as i32,
        raw_data: numbers,
        ..TensorProto::default()
    }
}

/// A setting that is a whole number.
pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(i),
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

/// A setting that is a list of whole numbers.
pub(super) fn int_list(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints,
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

/// A setting that is a list of texts.
pub(super) fn text_list(name: &str, texts: &[String]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        strings: texts.iter().map(|t| t.as_bytes().to_vec()).collect(),
        r#type: AttributeType::Strings as i32,
        ..AttributeProto::default()
    }
}

/// A setting that is a tensor.
pub(super) fn tensor(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        t: Some(t),
        r#type: AttributeType::Tensor as i32,
        ..AttributeProto::default()
    }
}
