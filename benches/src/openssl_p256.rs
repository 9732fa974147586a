//! OpenSSL's P-256 through its public interface, one operation at a time, as upstream's core uses BoringSSL's.

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;

/// Points that a measured loop goes through, so that no branch is learnt by heart.
const POINTS: usize = 64;

/// Seeded points and scalars, and room for results.
pub struct OpenSsl {
    group: EcGroup,
    context: BigNumContext,
    points: Vec<EcPoint>,
    encodings: Vec<Vec<u8>>,
    scalars: Vec<BigNum>,
    result: EcPoint,
    next: usize,
}

impl OpenSsl {
    /// Prepares the inputs.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let mut context = BigNumContext::new()?;
        let (mut points, mut encodings, mut scalars) = (Vec::new(), Vec::new(), Vec::new());
        for scalar in crate::scalars::<halo_crypto::P256>(POINTS) {
            use halo_crypto::Group;
            let bytes = halo_crypto::P256::scalar_to_bytes(&scalar);
            let scalar = BigNum::from_slice(bytes.expose())?;
            let mut point = EcPoint::new(&group)?;
            point.mul_generator2(&group, &scalar, &mut context)?;
            encodings.push(point.to_bytes(&group, PointConversionForm::COMPRESSED, &mut context)?);
            points.push(point);
            scalars.push(scalar);
        }
        let result = EcPoint::new(&group)?;
        Ok(Self { group, context, points, encodings, scalars, result, next: 0 })
    }

    fn advance(&mut self) -> (usize, usize) {
        self.next = (self.next + 1) % POINTS;
        (self.next, (self.next + 7) % POINTS)
    }

    /// A scalar times a point.
    ///
    /// # Errors
    /// OpenSSL's, as with the others.
    pub fn multiply(&mut self) -> Result<(), ErrorStack> {
        let (i, j) = self.advance();
        self.result.mul2(&self.group, &self.points[i], &self.scalars[j], &mut self.context)
    }

    /// A scalar times the generator.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn multiply_generator(&mut self) -> Result<(), ErrorStack> {
        let (i, _) = self.advance();
        self.result.mul_generator2(&self.group, &self.scalars[i], &mut self.context)
    }

    /// The sum of two points.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn add(&mut self) -> Result<(), ErrorStack> {
        let (i, j) = self.advance();
        self.result.add(&self.group, &self.points[i], &self.points[j], &mut self.context)
    }

    /// A point from its compressed encoding.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn decode(&mut self) -> Result<EcPoint, ErrorStack> {
        let (i, _) = self.advance();
        EcPoint::from_bytes(&self.group, &self.encodings[i], &mut self.context)
    }

    /// A point's compressed encoding.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn encode(&mut self) -> Result<Vec<u8>, ErrorStack> {
        let (i, _) = self.advance();
        self.points[i].to_bytes(&self.group, PointConversionForm::COMPRESSED, &mut self.context)
    }
}
