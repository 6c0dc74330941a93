-- Rollback: 002_products
-- Description: Removes the products; their policies go with the table
-- Author: Ada Kern
-- Date: 2025-03-04

DROP TABLE shop.products;
